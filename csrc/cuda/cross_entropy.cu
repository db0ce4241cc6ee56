// One cluster of blocks per row. Each block holds a slice of the row in shared memory from the one
// read to the one write; the blocks send one another the sums of their slices.
#include "cuda/cross_entropy.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>

#include "cuda/cluster.cuh"
#include "cuda/row.cuh"

namespace percbal::cuda {
namespace {

constexpr int kThreads = 256, kMaxCluster = 16;
[[maybe_unused]] constexpr int kChunks = 4;  // of a slice: one is computed while others travel
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

// N values at once, the same then in every thread; `scratch` is for this call alone.
template <int N, class F>
__device__ void reduce_block(float (&x)[N], float (*scratch)[kWarps], F combine) {
#pragma unroll
  for (int n = 0; n < N; ++n) {
    x[n] = reduce_lanes(x[n], 32, combine);
    if (threadIdx.x % 32 == 0) scratch[n][threadIdx.x / 32] = x[n];
  }
  __syncthreads();
#pragma unroll
  for (int n = 0; n < N; ++n) {
    x[n] = reduce_lanes(scratch[n][threadIdx.x % kWarps], kWarps, combine);
  }
}

// What a block tells the others of its slice.
struct alignas(16) Share {
  Sums sums;
  float z_y;  // the target's logit, if it is in this slice
};

// Two logits, compared by one instruction.
[[maybe_unused]] __device__ __nv_bfloat162 pair(__nv_bfloat16 x) { return {x, x}; }
[[maybe_unused]] __device__ __half2 pair(__half x) { return {x, x}; }

// The largest logit of the thread's packs among begin ... end - 1; NaN is left to the sums. begin
// is a multiple of kThreads, so that in every pass a thread has the same packs.
template <class T>
__device__ float chunk_max(const Pack<T>* slice, int begin, int end) {
  T least;
  narrow(-INFINITY, least);
  auto maxima = pair(least);
  for (int i = begin + threadIdx.x; i < end; i += kThreads) {
    const Pack<T> pack = slice[i];
    decltype(maxima) pairs[Pack<T>::size / 2];
    memcpy(pairs, &pack, sizeof(pack));
#pragma unroll
    for (const auto& two : pairs) maxima = __hmax2(maxima, two);
  }
  return fmaxf(widen(maxima.x), widen(maxima.y));
}
template <>
[[maybe_unused]] __device__ float chunk_max(const Pack<float>* slice, int begin, int end) {
  float max_logit = -FLT_MAX;
  for (int i = begin + threadIdx.x; i < end; i += kThreads) {
    const Pack<float> pack = slice[i];
#pragma unroll
    for (const float z : pack.values) max_logit = fmaxf(max_logit, z);
  }
  return max_logit;
}

// `max_logit`: of the thread's own packs. One exponential per logit.
template <class T>
__device__ Sums slice_sums(const Pack<T>* slice, int packs, float max_logit,
                           float (*scratch)[kWarps]) {
  float top[] = {max_logit};
  reduce_block(top, scratch, [](float a, float b) { return fmaxf(a, b); });
  float s[] = {0, 0};
  for (int i = threadIdx.x; i < packs; i += kThreads) {
    const Pack<T> pack = slice[i];
#pragma unroll
    for (const T z : pack.values) {
      const float e = exp_fast(widen(z) - top[0]);
      s[0] += e;
      s[1] += e * e;
    }
  }
  reduce_block(s, scratch + 1, [](float a, float b) { return a + b; });
  return {top[0], s[0], s[1]};
}

// The logits of the chunk give way to their gradient.
template <class T>
__device__ void chunk_gradient(Pack<T>* slice, int begin, int end, float max_logit, float spread) {
  for (int i = begin + threadIdx.x; i < end; i += kThreads) {
    Pack<T> pack = slice[i];
#pragma unroll
    for (T& z : pack.values) narrow(spread * exp_fast(widen(z) - max_logit), z);
    slice[i] = pack;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 3) cluster_kernel(const CrossEntropyArgs args) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900  // elsewhere empty, and never launched
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ uint64_t arrived[kChunks];  // barriers: the chunks of the slice
  __shared__ uint64_t told;              // and what the blocks tell this one
  __shared__ Share shares[kMaxCluster];
  __shared__ float scratch[3][kWarps];
  __shared__ float z_y;
  __shared__ Row row_terms;
  auto* slice = reinterpret_cast<Pack<T>*>(memory);
  const int blocks = cluster_blocks(), rank = cluster_rank();
  const int64_t row = blockIdx.x / blocks;
  const int all = args.classes / Pack<T>::size, each = (all + blocks - 1) / blocks;
  const int first = min(rank * each, all), packs = min(each, all - first);  // may be none
  const int chunk = (packs + kChunks * kThreads - 1) / (kChunks * kThreads) * kThreads;
  const auto* from = reinterpret_cast<const Pack<T>*>(static_cast<const T*>(args.logits) +
                                                      row * args.row_stride) + first;
  auto* out =
      reinterpret_cast<Pack<T>*>(static_cast<T*>(args.dlogits) + row * args.classes) + first;

  const int64_t target = args.target[row * args.target_stride];
  if (target == args.ignore_index) {  // the same in all blocks of the cluster
    for (int i = threadIdx.x; i < packs; i += kThreads) {
      reinterpret_cast<int4*>(out)[i] = make_int4(0, 0, 0, 0);
    }
    if (rank == 0 && threadIdx.x == 0) args.loss[row] = args.grad_sq[row] = 0;
    return;
  }
  const bool known = target >= 0 && target < args.classes;
  float w_y = 1, upstream = 0;
  uint64_t policy = 0;
  if (threadIdx.x == 0) {
    for (uint64_t& barrier : arrived) init_barrier(&barrier);
    init_barrier(&told);
    publish_barriers();
    policy = used_once();
#pragma unroll 1
    for (int begin = 0, i = 0; begin < packs; begin += chunk, ++i) {
      const uint32_t bytes = min(chunk, packs - begin) * sizeof(Pack<T>);
      expect_bytes(&arrived[i], bytes);
      bulk_load(slice + begin, from + begin, bytes, &arrived[i], policy);
    }
    if (blocks > 1) expect_bytes(&told, blocks * sizeof(Share));
    if (known && args.class_weight) w_y = args.class_weight[target];
    upstream = args.row_weight[row * args.row_weight_stride];
  }
  cluster_arrive();
  __syncthreads();  // the barriers are set up

  // The sums leave out the target: its place in shared memory says -inf until its gradient takes it. One
  // thread, whose pack it is in, sees to both.
  const int home = known ? static_cast<int>(target) / Pack<T>::size - first : -1;
  const bool keeper = home >= 0 && home < packs && home % kThreads == threadIdx.x;
  T* place = reinterpret_cast<T*>(slice) + (target - static_cast<int64_t>(first) * Pack<T>::size);
  float max_logit = -FLT_MAX;
  for (int begin = 0, i = 0; begin < packs; begin += chunk, ++i) {
    wait_for_bytes(&arrived[i]);
    if (keeper && home / chunk == i) {
      z_y = widen(*place);
      narrow(-INFINITY, *place);
    }
    max_logit = fmaxf(max_logit, chunk_max(slice, begin, min(begin + chunk, packs)));
  }
  const Sums sums = slice_sums(slice, packs, max_logit, scratch);

  cluster_wait();  // all blocks run and have set up `told`
  if (blocks == 1) {  // alone, it has nobody to send to; the memory checker insists on it
    if (threadIdx.x == 0) shares[0] = {sums, z_y};
  } else if (threadIdx.x < blocks) {
    send(&shares[rank], &told, threadIdx.x, Share{sums, z_y});
  }
  if (threadIdx.x == 0) {
    // after this no block writes here, and this one may leave
    if (blocks > 1) wait_for_cluster_bytes(&told);
    Sums total = shares[0].sums;
    for (int block = 1; block < blocks; ++block) total.merge(shares[block].sums);
    const float logit = known ? shares[static_cast<int>(target) / Pack<T>::size / each].z_y : NAN;
    Row terms = finish_row(total, logit, w_y, args.z_loss);
    if (rank == 0) {
      args.loss[row] = terms.loss;
      args.grad_sq[row] = terms.grad_sq;
    }
    terms.spread *= upstream;
    terms.at_target *= upstream;
    row_terms = terms;
  }
  __syncthreads();
  for (int begin = 0, i = 0; begin < packs; begin += chunk, ++i) {
    const int end = min(begin + chunk, packs);
    chunk_gradient(slice, begin, end, row_terms.max_logit, row_terms.spread);
    if (keeper && home / chunk == i) narrow(row_terms.at_target, *place);
    publish_to_copies();
    __syncthreads();
    if (threadIdx.x == 0) {
      bulk_store(out + begin, slice + begin, (end - begin) * sizeof(Pack<T>), policy);
    }
  }
  if (threadIdx.x == 0) finish_stores();
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
  int rows_at_once(int most_bytes) {
    int clusters = 0;
    const bool fits = config.dynamicSmemBytes <= static_cast<size_t>(most_bytes);
    if (!fits || cudaOccupancyMaxActiveClusters(&clusters, cluster_kernel<T>, &config)) {
      cudaGetLastError();  // not an error of the caller's
      return 0;
    }
    return clusters;
  }
};

// The only size to consider, or 0 for all.
int requested_cluster() {
  const char* said = std::getenv("PERCBAL_CLUSTER_BLOCKS");
  return said ? std::atoi(said) : 0;
}

// The cluster that keeps most rows in flight, found once per device, length and request; 0 if none
// fits. Of equals the largest: more threads, whose multiprocessors other rows share.
template <class T>
int cluster_size(const CrossEntropyArgs& args, cudaStream_t stream) {
  static std::mutex mutex;
  static std::map<std::tuple<int, int, int>, int> known;  // one for each T
  int device = 0;
  cudaGetDevice(&device);
  const std::lock_guard<std::mutex> lock(mutex);
  const int requested = requested_cluster();
  const std::tuple<int, int, int> key{device, args.classes, requested};
  if (const auto entry = known.find(key); entry != known.end()) return entry->second;
  int limit = 0;
  cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  limit -= 1024;  // for the static variables
  // the same for all lengths: two threads may launch rows of two lengths at once
  cudaFuncSetAttribute(cluster_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, limit);
  cudaFuncSetAttribute(cluster_kernel<T>, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
  cudaFuncSetAttribute(cluster_kernel<T>, cudaFuncAttributePreferredSharedMemoryCarveout, 100);
  cudaGetLastError();
  int most = 1, best = 0;
  for (const int blocks : {1, 2, 4, 8, kMaxCluster}) {
    if (requested != 0 && blocks != requested) continue;
    const int rows = Launch<T>(args, blocks, stream).rows_at_once(limit);
    if (rows >= most) most = rows, best = blocks;
  }
  if (best != 0) known[key] = best;  // what fails may pass the next time
  return best;
}

template <class T>
const char* launch(const CrossEntropyArgs& args, cudaStream_t stream) {
  const int blocks = cluster_size<T>(args, stream);
  if (blocks == 0) return "no cluster of blocks can hold a row of these logits";
  Launch<T> launch(args, blocks, stream);
  const cudaError_t error = cudaLaunchKernelEx(&launch.config, cluster_kernel<T>, args);
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
