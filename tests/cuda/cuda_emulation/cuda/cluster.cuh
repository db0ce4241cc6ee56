// In place of csrc/cuda/cluster.cuh.
#pragma once
#include "cuda_runtime.h"

namespace percbal::cuda {

using emulation::copies;

inline int cluster_blocks() { return static_cast<int>(emulation::blocks.size()); }
inline int cluster_rank() {
  return static_cast<int>(emulation::block - emulation::blocks.data());
}
inline void cluster_arrive() { copies.arrive(); }
inline void cluster_wait() { copies.wait(); }

inline void init_barrier(uint64_t* barrier) { copies.init(barrier); }
inline void publish_barriers() { copies.publish_barriers(); }
inline void expect_bytes(uint64_t* barrier, uint32_t bytes) { copies.expect(barrier, bytes); }
inline void wait_for_bytes(uint64_t* barrier) { copies.wait_for(barrier, false); }
inline void wait_for_cluster_bytes(uint64_t* barrier) { copies.wait_for(barrier, true); }

template <class T>
T* in_block(T* mine, int rank) {
  const auto offset = reinterpret_cast<unsigned char*>(mine) - emulation::block->shared.data();
  return reinterpret_cast<T*>(emulation::blocks[rank].shared.data() + offset);
}
template <class T>
void send(T* place, uint64_t* barrier, int rank, const T& value) {
  copies.send(in_block(place, rank), &value, sizeof(T), in_block(barrier, rank));
}

inline uint64_t used_once() { return 0; }
inline void bulk_load(void* to, const void* from, uint32_t bytes, uint64_t* barrier, uint64_t) {
  copies.load(to, from, bytes, barrier);
}
inline void publish_to_copies() { copies.publish_memory(); }
inline void bulk_store(void* to, const void* from, uint32_t bytes, uint64_t) {
  copies.store(to, from, bytes);
}
inline void finish_stores() { copies.finish_stores(); }

}  // namespace percbal::cuda
