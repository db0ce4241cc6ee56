#pragma once
#include "cuda_runtime.h"

namespace cooperative_groups {

struct cluster_group {
  int num_blocks() const { return static_cast<int>(emulation::cluster->blocks.size()); }
  int block_rank() const { return emulation::rank; }
  void sync() const { emulation::cluster->all.arrive_and_wait(); }
  template <class T>
  T* map_shared_rank(T* mine, int rank) const {
    const auto offset = reinterpret_cast<unsigned char*>(mine) - emulation::block->arena;
    return reinterpret_cast<T*>(emulation::cluster->blocks[rank]->arena + offset);
  }
};
inline cluster_group this_cluster() { return {}; }

}  // namespace cooperative_groups
