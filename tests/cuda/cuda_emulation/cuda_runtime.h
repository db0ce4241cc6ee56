// As much of CUDA as csrc/cuda uses, on fibers. Faithful in what is read, written and exchanged,
// and in what waits for what; it says nothing about time or memory models.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "grid.h"

#define __global__
#define __device__
#define __launch_bounds__(...)

using std::min;

struct int4 {
  int x, y, z, w;
};
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

namespace emulation {

// Shuffles of other distances are other instructions.
enum Instruction { sync, sync_and, sync_warp, ballot, shuffle_xor };

inline const uint64_t* meet_warp(unsigned mask, int instruction, uint64_t brings = 0) {
  if (mask != ~0u) fibers.fail("only whole warps are emulated");
  return block->warps[threadIdx.x / 32](instruction, brings);
}

}  // namespace emulation

inline void __syncthreads() { emulation::block->all(emulation::sync); }

inline int __syncthreads_and(int predicate) {
  const uint64_t* votes = emulation::block->all(emulation::sync_and, predicate != 0);
  return std::all_of(votes, votes + blockDim.x, [](uint64_t vote) { return vote; });
}

inline void __syncwarp(unsigned mask = ~0u) { emulation::meet_warp(mask, emulation::sync_warp); }

inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const uint64_t* votes = emulation::meet_warp(mask, emulation::ballot, predicate != 0);
  unsigned lanes = 0;
  for (int lane = 0; lane < 32; ++lane) lanes |= static_cast<unsigned>(votes[lane]) << lane;
  return lanes;
}

template <class T>
T __shfl_xor_sync(unsigned mask, T x, int distance) {
  uint64_t bits = 0;
  std::memcpy(&bits, &x, sizeof(T));
  bits = emulation::meet_warp(mask, emulation::shuffle_xor + distance,
                              bits)[(threadIdx.x % 32) ^ distance];
  std::memcpy(&x, &bits, sizeof(T));
  return x;
}

inline int __ffs(int x) { return __builtin_ffs(x); }

template <class T>
T atomicAdd(T* to, T value) {
  const T before = *to;
  *to += value;
  return before;
}

using cudaStream_t = void*;
using cudaError_t = const char*;  // what went wrong
constexpr cudaError_t cudaSuccess = nullptr;
enum { cudaDevAttrMaxSharedMemoryPerBlockOptin };
enum cudaFuncAttribute {
  cudaFuncAttributeNonPortableClusterSizeAllowed,
  cudaFuncAttributeMaxDynamicSharedMemorySize,
  cudaFuncAttributePreferredSharedMemoryCarveout
};
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

namespace emulation {

inline int cluster_size = 4;  // of which the emulated device holds most
inline cudaError_t last_error = cudaSuccess;

// kernel<<<grid, threads, dynamic, stream>>>(...), with the call in `kernel`.
template <class Kernel>
void launch(dim3 grid, dim3 threads, size_t dynamic, cudaStream_t, const Kernel& kernel) {
  if (cudaError_t error = run_grid(grid, threads, dynamic, 4, kernel)) last_error = error;
}

}  // namespace emulation

inline cudaError_t cudaGetLastError() { return std::exchange(emulation::last_error, cudaSuccess); }
inline const char* cudaGetErrorString(cudaError_t error) { return error; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, int, int) {
  return *value = 232448, cudaSuccess;
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, int, int) {
  return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveClusters(int* n, Kernel*, const cudaLaunchConfig_t* config) {
  *n = config->attrs->val.clusterDim.x == static_cast<unsigned>(emulation::cluster_size) ? 2 : 1;
  return cudaSuccess;
}

template <class Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Args), Args args) {
  return emulation::run_grid(config->gridDim, config->blockDim, config->dynamicSmemBytes,
                             config->attrs->val.clusterDim.x, [&] { kernel(args); });
}
