// As much of CUDA as csrc/cuda uses, on CPU threads: a thread each, barriers for synchronisation,
// one arena of memory per block in place of its shared memory. Slow, and faithful in what is read,
// written and exchanged; it says nothing about time, memory models or the copy engine.
#pragma once
#include <algorithm>
#include <barrier>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __launch_bounds__(...)

using std::min;

struct int4 {
  int x, y, z, w;
};
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace emulation {

constexpr int kArena = 1 << 18;

struct Block {
  explicit Block(int threads) : all(threads), lanes(threads) {
    for (int warp = 0; warp < threads / 32; ++warp) {
      warps.push_back(std::make_unique<std::barrier<>>(32));
    }
  }
  alignas(16) unsigned char arena[kArena];
  std::barrier<> all;
  std::vector<std::unique_ptr<std::barrier<>>> warps;
  std::vector<float> lanes;
};

struct Cluster {
  Cluster(int size, int threads) : all(size * threads) {
    for (int i = 0; i < size; ++i) blocks.push_back(std::make_unique<Block>(threads));
  }
  std::barrier<> all;
  std::vector<std::unique_ptr<Block>> blocks;
};

inline thread_local Cluster* cluster;
inline thread_local Block* block;
inline thread_local int rank;
inline int cluster_size = 4;  // what the emulated device prefers

// Shared variables, by their offset in the arena.
template <class T>
T& shared(int offset) {
  return *reinterpret_cast<T*>(block->arena + offset);
}

}  // namespace emulation

inline thread_local dim3 threadIdx, blockIdx;

inline void __syncthreads() { emulation::block->all.arrive_and_wait(); }

inline float __shfl_xor_sync(unsigned, float x, int mask) {
  auto& block = *emulation::block;
  auto& warp = *block.warps[threadIdx.x / 32];
  block.lanes[threadIdx.x] = x;
  warp.arrive_and_wait();
  const float other = block.lanes[threadIdx.x ^ mask];
  warp.arrive_and_wait();
  return other;
}

using cudaStream_t = void*;
using cudaError_t = int;
enum { cudaDevAttrMaxSharedMemoryPerBlockOptin };
enum { cudaFuncAttributeNonPortableClusterSizeAllowed, cudaFuncAttributeMaxDynamicSharedMemorySize };
enum { cudaLaunchAttributeClusterDimension };
struct cudaLaunchAttribute {
  int id;
  struct {
    struct {
      unsigned x, y, z;
    } clusterDim;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

inline cudaError_t cudaGetDevice(int* device) { return *device = 0; }
inline cudaError_t cudaGetLastError() { return 0; }
inline const char* cudaGetErrorString(cudaError_t) { return "an emulated error"; }
inline cudaError_t cudaDeviceGetAttribute(int* value, int, int) { return *value = 232448, 0; }
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, int, int) {
  return 0;
}
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveClusters(int* n, Kernel*, const cudaLaunchConfig_t* config) {
  *n = config->attrs->val.clusterDim.x == static_cast<unsigned>(emulation::cluster_size);
  return 0;
}

template <class Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Args), Args args) {
  const int size = config->attrs->val.clusterDim.x, threads = config->blockDim.x;
  for (unsigned first = 0; first < config->gridDim.x; first += size) {
    emulation::Cluster cluster(size, threads);
    std::vector<std::jthread> running;
    for (int i = 0; i < size * threads; ++i) {
      running.emplace_back([&, i] {
        emulation::rank = i / threads;
        emulation::cluster = &cluster;
        emulation::block = cluster.blocks[emulation::rank].get();
        blockIdx = dim3(first + emulation::rank);
        threadIdx = dim3(i % threads);
        kernel(args);
      });
    }
  }
  return 0;
}
