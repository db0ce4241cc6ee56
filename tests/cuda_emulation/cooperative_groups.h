#pragma once
#include "cuda_runtime.h"

namespace cooperative_groups {

struct cluster_group {
  int num_blocks() const { return static_cast<int>(emulation::blocks.size()); }
  int block_rank() const { return static_cast<int>(emulation::block - emulation::blocks.data()); }
  void sync() const { (*emulation::cluster)(emulation::sync_cluster); }
  template <class T>
  T* map_shared_rank(T* mine, int rank) const {
    const auto offset = reinterpret_cast<unsigned char*>(mine) - emulation::block->shared.data();
    return reinterpret_cast<T*>(emulation::blocks[rank].shared.data() + offset);
  }
};
inline cluster_group this_cluster() { return {}; }

}  // namespace cooperative_groups
