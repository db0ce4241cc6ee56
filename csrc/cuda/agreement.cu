// One block per rollout, one other of its group after the other. Edit distance runs along the
// anti-diagonals of the matrix, whose cells do not depend on one another.
#include "cuda/agreement.h"

#include <cuda_runtime.h>

#include "cuda/check.cuh"

namespace percbal::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxBlocks = 1024;  // bounds the scratch memory

struct Tokens {
  const int64_t* at;
  int64_t size;
};

__device__ Tokens member(const RaggedGroups& in, int64_t m) {
  const int64_t r = in.order ? in.order[m] : m;
  return {in.tokens + in.offsets[r], in.offsets[r + 1] - in.offsets[r]};
}

// Cell (i, j) of diagonal d = i + j lies at index i; three diagonals take turns. All threads call.
__device__ int64_t edit_distance(Tokens a, Tokens b, int32_t* rows, int64_t stride) {
  int32_t *now = rows, *last = rows + stride, *before = rows + 2 * stride;
  for (int64_t d = 0; d <= a.size + b.size; ++d) {
    const int64_t first = d > b.size ? d - b.size : 0, end = d < a.size ? d : a.size;
    for (int64_t i = first + threadIdx.x; i <= end; i += kThreads) {
      const int64_t j = d - i;
      int32_t cost;
      if (i == 0 || j == 0) {
        cost = static_cast<int32_t>(d);
      } else {
        const int32_t gap = min(last[i - 1], last[i]) + 1;
        cost = min(gap, before[i - 1] + (a.at[i - 1] != b.at[j - 1]));
      }
      now[i] = cost;
    }
    __syncthreads();
    int32_t* const free_row = before;
    before = last;
    last = now;
    now = free_row;
  }
  const int64_t distance = last[a.size];
  __syncthreads();  // the next pair may overwrite it
  return distance;
}

__device__ bool equal(Tokens a, Tokens b) {
  bool same = a.size == b.size;
  for (int64_t i = threadIdx.x; same && i < a.size; i += kThreads) same = a.at[i] == b.at[i];
  return __syncthreads_and(same);
}

// First index of sorted `t` whose token is not below `token`.
__device__ int64_t lower_bound(Tokens t, int64_t token) {
  int64_t low = 0, high = t.size;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (t.at[middle] < token)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// The k-th copy of a token in `a` is shared if `b` has at least k copies: both sorted.
__device__ int64_t shared_tokens(Tokens a, Tokens b) {
  int64_t shared = 0;
  for (int64_t i = threadIdx.x; i < a.size; i += kThreads) {
    const int64_t copy = i - lower_bound(a, a.at[i]);
    const int64_t there = lower_bound(b, a.at[i]) + copy;
    shared += there < b.size && b.at[there] == a.at[i];
  }
  __shared__ unsigned long long total;
  if (threadIdx.x == 0) total = 0;
  __syncthreads();
  atomicAdd(&total, static_cast<unsigned long long>(shared));  // integers: order does not matter
  __syncthreads();
  const int64_t out = static_cast<int64_t>(total);
  __syncthreads();
  return out;
}

__device__ double similarity(Tokens a, Tokens b, Agreement kind, int32_t* rows, int64_t stride) {
  if (a.size == 0 && b.size == 0) return 1;
  if (kind == Agreement::exact) return equal(a, b);
  if (kind == Agreement::multiset) return 2.0 * shared_tokens(a, b) / (a.size + b.size);
  const int64_t longest = a.size > b.size ? a.size : b.size;
  return 1 - static_cast<double>(edit_distance(a, b, rows, stride)) / longest;
}

__global__ void agreement_kernel(RaggedGroups in, Agreement kind, int32_t* scratch, int64_t stride,
                                 float* out) {
  int32_t* rows = scratch + blockIdx.x * 3 * stride;
  for (int64_t i = blockIdx.x; i < in.group[in.groups]; i += gridDim.x) {
    int64_t low = 0, high = in.groups;  // the group that holds i: group[low] <= i < group[high]
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (in.group[middle] <= i ? low : high) = middle;
    }
    const int64_t begin = in.group[low], end = in.group[high];
    double total = 0;
    for (int64_t j = begin; j < end; ++j)
      if (j != i) total += similarity(member(in, i), member(in, j), kind, rows, stride);
    if (threadIdx.x == 0)
      out[in.order ? in.order[i] : i] =
          end - begin > 1 ? static_cast<float>(total / (end - begin - 1)) : nanf("");
  }
}

}  // namespace

AgreementPlan agreement_plan(int64_t rollouts, int64_t longest) {
  const int blocks = static_cast<int>(rollouts < kMaxBlocks ? rollouts : kMaxBlocks);
  return {blocks, 3 * (longest + 1)};
}

void group_agreement(const RaggedGroups& in, Agreement kind, int64_t rollouts, int64_t longest,
                     int32_t* scratch, float* out, void* stream) {
  const AgreementPlan plan = agreement_plan(rollouts, longest);
  if (plan.blocks == 0) return;
  agreement_kernel<<<plan.blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      in, kind, scratch, longest + 1, out);
  check_launch("group_agreement");
}

}  // namespace percbal::cuda
