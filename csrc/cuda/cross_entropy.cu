// One cluster of blocks per row. Each block holds a slice of the row in shared memory from the one
// read to the one write; the sums of the slices meet through distributed shared memory.
#include "cuda/cross_entropy.h"

#include <cooperative_groups.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <map>
#include <mutex>
#include <utility>

#include "cuda/cluster.cuh"
#include "cuda/row.cuh"

namespace percbal::cuda {
namespace {

namespace cg = cooperative_groups;

constexpr int kThreads = 256, kMaxCluster = 16;
[[maybe_unused]] constexpr int kWarps = kThreads / 32;  // only where there are clusters

// 16 bytes of a row, the unit of every access to shared memory.
template <class T>
struct alignas(16) Pack {
  static constexpr int size = 16 / sizeof(T);
  T values[size];
};

// By name: torch's build of extensions turns the implicit conversions off.
[[maybe_unused]] __device__ float widen(float x) { return x; }
[[maybe_unused]] __device__ float widen(__nv_bfloat16 x) { return __bfloat162float(x); }
[[maybe_unused]] __device__ float widen(__half x) { return __half2float(x); }
[[maybe_unused]] __device__ void narrow(float x, float& to) { to = x; }
[[maybe_unused]] __device__ void narrow(float x, __nv_bfloat16& to) { to = __float2bfloat16(x); }
[[maybe_unused]] __device__ void narrow(float x, __half& to) { to = __float2half(x); }

// Over groups of `lanes` neighbours; every thread gets its group's result.
template <class F>
__device__ float reduce_lanes(float x, int lanes, F combine) {
  for (int step = lanes / 2; step > 0; step /= 2) {
    x = combine(x, __shfl_xor_sync(~0u, x, step));
  }
  return x;
}

// The same value in every thread; `scratch` holds kWarps floats and is free again on return.
template <class F>
__device__ float reduce_block(float x, float* scratch, F combine) {
  x = reduce_lanes(x, 32, combine);
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
  __syncthreads();
  x = reduce_lanes(scratch[threadIdx.x % kWarps], kWarps, combine);
  __syncthreads();
  return x;
}

// Two reads of shared memory: the peak of the slice, then its sums; one exponential per logit.
template <class T>
__device__ Sums slice_sums(const Pack<T>* slice, int packs, float* scratch) {
  float peak = -FLT_MAX;
  for (int i = threadIdx.x; i < packs; i += kThreads) {
    const Pack<T> pack = slice[i];
#pragma unroll
    for (const T z : pack.values) peak = fmaxf(peak, widen(z));
  }
  Sums sums;
  sums.peak = reduce_block(peak, scratch, [](float a, float b) { return fmaxf(a, b); });
  float s1 = 0, s2 = 0;
  for (int i = threadIdx.x; i < packs; i += kThreads) {
    const Pack<T> pack = slice[i];
#pragma unroll
    for (const T z : pack.values) {
      const float e = exp_fast(widen(z) - sums.peak);
      s1 += e;
      s2 += e * e;
    }
  }
  const auto add = [](float a, float b) { return a + b; };
  sums.s1 = reduce_block(s1, scratch, add);
  sums.s2 = reduce_block(s2, scratch, add);
  return sums;
}

// The logits of the slice give way to their gradient.
template <class T>
__device__ void slice_gradient(Pack<T>* slice, int packs, float peak, float spread) {
  for (int i = threadIdx.x; i < packs; i += kThreads) {
    Pack<T> pack = slice[i];
#pragma unroll
    for (T& z : pack.values) narrow(spread * exp_fast(widen(z) - peak), z);
    slice[i] = pack;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 3) cluster_kernel(const CrossEntropyArgs args) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900  // elsewhere empty, and never launched
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ uint64_t arrived;
  __shared__ Sums parts[kMaxCluster];
  __shared__ float scratch[kWarps];
  __shared__ Row row_terms;
  auto* slice = reinterpret_cast<Pack<T>*>(memory);
  cg::cluster_group cluster = cg::this_cluster();
  const int blocks = cluster.num_blocks(), rank = cluster.block_rank();
  const int64_t row = blockIdx.x / blocks;
  const int all = args.classes / Pack<T>::size, each = (all + blocks - 1) / blocks;
  const int first = min(rank * each, all), packs = min(each, all - first);  // may be none
  const T* logits = static_cast<const T*>(args.logits) + row * args.row_stride;
  T* dlogits = static_cast<T*>(args.dlogits) + row * args.classes;
  auto* out = reinterpret_cast<Pack<T>*>(dlogits) + first;

  const int64_t target = args.target[row * args.target_stride];
  if (target == args.ignore_index) {  // the same in all blocks of the cluster
    for (int i = threadIdx.x; i < packs; i += kThreads) {
      reinterpret_cast<int4*>(out)[i] = make_int4(0, 0, 0, 0);
    }
    if (rank == 0 && threadIdx.x == 0) args.loss[row] = args.grad_sq[row] = 0;
    return;
  }
  const uint32_t bytes = packs * sizeof(Pack<T>);
  if (threadIdx.x == 0) {
    expect_bytes(&arrived, bytes);
    const auto* from = reinterpret_cast<const Pack<T>*>(logits) + first;
    if (bytes > 0) bulk_load(slice, from, bytes, &arrived);
  }
  cluster.sync();  // all blocks run, so their shared memory may be written; the barrier is set up
  wait_for_bytes(&arrived);

  // The target is no rival: its place in shared memory says -inf until its gradient takes it.
  const bool known = target >= 0 && target < args.classes;
  const int64_t at = target - static_cast<int64_t>(first) * Pack<T>::size;
  const bool owner = known && at >= 0 && at < static_cast<int64_t>(packs) * Pack<T>::size;
  T* place = reinterpret_cast<T*>(slice) + at;
  if (owner && threadIdx.x == 0) narrow(-INFINITY, *place);
  __syncthreads();

  const Sums mine = slice_sums(slice, packs, scratch);
  if (threadIdx.x < blocks) cluster.map_shared_rank(parts, threadIdx.x)[rank] = mine;
  cluster.sync();
  if (threadIdx.x == 0) {
    Sums sums = parts[0];
    for (int block = 1; block < blocks; ++block) sums.merge(parts[block]);
    const float z_y = known ? widen(logits[target]) : NAN;
    const float w_y = args.class_weight && known ? args.class_weight[target] : 1;
    row_terms = finish_row(sums, z_y, w_y, args.z_loss);
    if (rank == 0) {
      args.loss[row] = row_terms.loss;
      args.grad_sq[row] = row_terms.grad_sq;
    }
  }
  __syncthreads();
  const float upstream = args.row_weight[row * args.row_weight_stride];
  slice_gradient(slice, packs, row_terms.peak, upstream * row_terms.spread);
  __syncthreads();
  if (owner && threadIdx.x == 0) narrow(upstream * row_terms.at_target, *place);
  publish_to_copies();
  __syncthreads();
  if (threadIdx.x == 0 && bytes > 0) bulk_store(out, slice, bytes);
#endif
}

template <class T>
struct Launch {
  cudaLaunchConfig_t config{};
  cudaLaunchAttribute cluster{};

  Launch(const CrossEntropyArgs& args, int blocks, cudaStream_t stream) {
    const int packs = args.classes / Pack<T>::size;
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {static_cast<unsigned>(blocks), 1, 1};
    config.gridDim = dim3(static_cast<unsigned>(args.rows * blocks));
    config.blockDim = dim3(kThreads);
    config.dynamicSmemBytes = (packs + blocks - 1) / blocks * sizeof(Pack<T>);
    config.stream = stream;
    config.attrs = &cluster;
    config.numAttrs = 1;
  }

  // How many rows the device holds at once; 0 if it cannot place such a cluster.
  int rows_at_once() {
    int device = 0, limit = 0, clusters = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    const bool fits = config.dynamicSmemBytes + 1024 <= static_cast<size_t>(limit);
    if (!fits || cudaOccupancyMaxActiveClusters(&clusters, cluster_kernel<T>, &config)) {
      cudaGetLastError();  // not an error of the caller's
      return 0;
    }
    return clusters;
  }
};

// The cluster that keeps most bytes in flight, found once per device and length; 0 if none fits.
template <class T>
int cluster_size(const CrossEntropyArgs& args, cudaStream_t stream) {
  static std::mutex mutex;
  static std::map<std::pair<int, int>, int> known;
  int device = 0;
  cudaGetDevice(&device);
  const std::lock_guard<std::mutex> lock(mutex);
  const auto [entry, fresh] = known.try_emplace({device, args.classes}, 0);
  if (!fresh) return entry->second;
  cudaFuncSetAttribute(cluster_kernel<T>, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
  int most = 0;
  for (const int blocks : {4, 8, kMaxCluster}) {
    Launch<T> launch(args, blocks, stream);
    const auto bytes = static_cast<int>(launch.config.dynamicSmemBytes);
    if (cudaFuncSetAttribute(cluster_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes))
      cudaGetLastError();
    const int rows = launch.rows_at_once();
    if (rows > most) most = rows, entry->second = blocks;
  }
  return entry->second;
}

template <class T>
const char* launch(const CrossEntropyArgs& args, cudaStream_t stream) {
  const int blocks = cluster_size<T>(args, stream);
  if (blocks == 0) return "no cluster of blocks can hold a row of these logits";
  Launch<T> launch(args, blocks, stream);
  const auto bytes = static_cast<int>(launch.config.dynamicSmemBytes);
  cudaError_t error =
      cudaFuncSetAttribute(cluster_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (!error) error = cudaLaunchKernelEx(&launch.config, cluster_kernel<T>, args);
  return error ? cudaGetErrorString(error) : nullptr;
}

}  // namespace

const char* launch_cross_entropy(const CrossEntropyArgs& args, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  if (args.rows == 0) return nullptr;
  if (args.dtype == Dtype::bf16) return launch<__nv_bfloat16>(args, on);
  if (args.dtype == Dtype::f16) return launch<__half>(args, on);
  return launch<float>(args, on);
}

}  // namespace percbal::cuda
