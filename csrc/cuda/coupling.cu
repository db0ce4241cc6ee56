// One warp per group and candidate: lanes stride over the rollouts, shuffles add them up, and the
// formulas that fold a group into the sums are the CPU's own (core/coupling/coupling_fields.h).
#include "cuda/coupling.h"

#include <cuda_runtime.h>

#include "cuda/check.cuh"

namespace percbal::cuda {
namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps;
constexpr int kMaxFields = 2 * kPairFields + kSignalFields;

// Each value becomes its sum over the warp, in every lane.
template <class... Values>
__device__ void warp_sum(Values&... values) {
  for (int step = 16; step > 0; step /= 2) ((values += __shfl_xor_sync(~0u, values, step)), ...);
}

template <class T>
struct Group {  // the rows of one group, seen by one warp
  const Rollouts<T>& in;
  int64_t begin, size, candidate;

  __device__ Group(const Rollouts<T>& rollouts, int64_t g, int64_t c)
      : in(rollouts), begin(in.begin(g)), size(in.size(g)), candidate(c) {}
  __device__ int64_t row(int64_t i) const { return in.row(begin + i); }
  __device__ double x(int64_t row) const { return in.outcome[row * in.candidates + candidate]; }
  // an index that varies would copy the parameters to the stack
  __device__ double y(int64_t row, int t) const { return (t ? in.target[1] : in.target[0])[row]; }

  // The first row whose x, and y unless t < 0, are scored; -1 without one. Same in all lanes.
  __device__ int64_t first_scored(int t) const {
    for (int64_t start = 0; start < size; start += 32) {
      const int64_t i = start + threadIdx.x % 32;
      bool found = false;
      if (i < size) {
        const int64_t r = row(i);
        found = x(r) == x(r) && (t < 0 || y(r, t) == y(r, t));
      }
      const unsigned lanes = __ballot_sync(~0u, found);
      if (lanes) return row(start + __ffs(lanes) - 1);
    }
    return -1;
  }
};

template <class T>
__device__ PairSums<double> sum_pairs(const Group<T>& group, int t) {
  PairSums<double> s{};
  const int64_t first = group.first_scored(t);
  if (first < 0) return s;
  s.x0 = group.x(first);
  s.y0 = group.y(first, t);
  for (int64_t i = threadIdx.x % 32; i < group.size; i += 32) {
    const int64_t r = group.row(i);
    const double vx = group.x(r), vy = group.y(r, t);
    if (vx != vx || vy != vy) continue;
    const double dx = vx - s.x0, dy = vy - s.y0;
    s.n += 1;
    s.x += dx;
    s.y += dy;
    s.xx += dx * dx;
    s.xy += dx * dy;
    s.yy += dy * dy;
    s.binary += vx * vx == vx && vy * vy == vy;
  }
  warp_sum(s.n, s.x, s.y, s.xx, s.xy, s.yy, s.binary);
  s.per_n = inverse(s.n);
  return s;
}

struct Centre {
  double x0, n, x, xx;
};

template <class T>
__device__ Centre sum_outcomes(const Group<T>& group) {
  Centre s{};
  const int64_t first = group.first_scored(-1);
  if (first < 0) return s;
  s.x0 = group.x(first);
  for (int64_t i = threadIdx.x % 32; i < group.size; i += 32) {
    const double v = group.x(group.row(i)), d = v - s.x0;
    if (v != v) continue;
    s.n += 1;
    s.x += d;
    s.xx += d * d;
  }
  warp_sum(s.n, s.x, s.xx);
  return s;
}

template <class T>
__device__ SignalSums<double> sum_signal(const Group<T>& group, double right_at) {
  const Centre c = sum_outcomes(group);
  SignalSums<double> s{};
  s.n = c.n;
  s.spread = spread(c.n, c.x, c.xx);
  for (int64_t i = threadIdx.x % 32; i < group.size; i += 32) {
    const int64_t r = group.row(i);
    const double vx = group.x(r), vy = group.y(r, 0);
    if (vx != vx || vy != vy) continue;
    const bool right = vy >= right_at;
    s.known += 1;
    s.known_right += right;
    const double a = vx - (c.x0 + s.spread.mean);
    if (s.spread.std == 0 || fabs(a) <= kZeroAdvantage * s.spread.std) continue;
    const int cell = (right ? 0 : 2) + (a < 0);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      s.cells[k] += k == cell;
      s.mass[k] += k == cell ? fabs(a) : 0;
    }
  }
  warp_sum(s.known, s.known_right);
#pragma unroll
  for (int k = 0; k < 4; ++k) warp_sum(s.cells[k], s.mass[k]);
  return s;
}

template <class T>
__global__ void coupling_kernel(Rollouts<T> in, CouplingOptions options, double* scratch) {
  __shared__ double sums[kWarps][kMaxFields];
  const int targets = static_cast<int>(in.targets);
  const double once = 1;  // every group is folded by itself
  const int fields = targets * kPairFields + kSignalFields;
  const int warp = threadIdx.x / 32;
  const int64_t c = blockIdx.y;
  for (int f = threadIdx.x % 32; f < fields; f += 32) sums[warp][f] = 0;
  __syncwarp();
  for (int64_t g = static_cast<int64_t>(blockIdx.x) * kWarps + warp; g < in.groups;
       g += static_cast<int64_t>(gridDim.x) * kWarps) {
    const Group<T> group(in, g, c);
    double* acc = sums[warp];
    for (int t = 0; t < targets; ++t, acc += kPairFields) {
      const PairSums<double> pair = sum_pairs(group, t);
      if (threadIdx.x % 32 == 0)
        fold_pairs<1>(&pair, &once, 1, options.origin_outcome[c], options.origin_target[t], acc, 1);
    }
    const SignalSums<double> signal = sum_signal(group, options.right_at);
    if (threadIdx.x % 32 == 0) fold_signals(&signal, &once, 1, options.eps, acc, 1);
  }
  __syncthreads();
  for (int f = threadIdx.x; f < fields; f += kThreads) {
    double total = 0;
    for (int w = 0; w < kWarps; ++w) total += sums[w][f];
    scratch[(blockIdx.x * in.candidates + c) * fields + f] = total;
  }
}

// One thread per field: adds the blocks' sums in order, so that runs repeat bit for bit.
__global__ void add_blocks_kernel(const double* scratch, int64_t blocks, int64_t candidates,
                                  int targets, double* pair, double* signal) {
  const int fields = targets * kPairFields + kSignalFields;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= candidates * fields) return;
  double total = 0;
  for (int64_t b = 0; b < blocks; ++b) total += scratch[b * candidates * fields + at];
  const int64_t c = at / fields, f = at % fields, t = f / kPairFields;
  if (t < targets)
    pair[(t * candidates + c) * kPairFields + f % kPairFields] = total;
  else
    signal[c * kSignalFields + f - targets * kPairFields] = total;
}

template <class T>
__global__ void group_coupling_kernel(Rollouts<T> in, double* correlation, int64_t* count) {
  const int64_t c = blockIdx.y;
  for (int64_t g = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32; g < in.groups;
       g += static_cast<int64_t>(gridDim.x) * kWarps) {
    const Group<T> group(in, g, c);
    for (int t = 0; t < in.targets; ++t) {
      const PairSums<double> s = sum_pairs(group, t);
      if (threadIdx.x % 32 != 0) continue;
      const Central<double> w = central(s);
      const int64_t at = (t * in.candidates + c) * in.groups + g;
      const double r = w.xy / sqrt(w.xx * w.yy);  // (C1); 0/0 is NaN
      correlation[at] = r > 1 ? 1 : r < -1 ? -1 : r;
      count[at] = static_cast<int64_t>(s.n);
    }
  }
}

template <class T>
__global__ void group_advantage_kernel(Rollouts<T> in, double eps, T* scaled, T* centred) {
  const int64_t c = blockIdx.y;
  for (int64_t g = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32; g < in.groups;
       g += static_cast<int64_t>(gridDim.x) * kWarps) {
    const Group<T> group(in, g, c);
    const Centre s = sum_outcomes(group);
    const Spread<double> spread_of = spread(s.n, s.x, s.xx);
    for (int64_t i = threadIdx.x % 32; i < group.size; i += 32) {
      const int64_t r = group.row(i), at = r * in.candidates + c;
      const double v = group.x(r);
      const double a = spread_of.std == 0 && v == v ? 0 : v - s.x0 - spread_of.mean;
      centred[at] = static_cast<T>(a);
      scaled[at] = static_cast<T>(spread_of.std > 0 ? a / (spread_of.std + eps) : a);
    }
  }
}

template <class T>
dim3 grid_of(const Rollouts<T>& in) {
  return dim3(coupling_blocks(in.groups), static_cast<unsigned>(in.candidates));
}

}  // namespace

int coupling_blocks(int64_t groups) {
  const int64_t blocks = (groups + kWarps - 1) / kWarps;
  return static_cast<int>(blocks < 1 ? 1 : blocks > kCouplingBlocks ? kCouplingBlocks : blocks);
}

template <class T>
void coupling_stats(const Rollouts<T>& in, const CouplingOptions& options, double* scratch,
                    double* pair, double* signal, void* stream) {
  const auto s = static_cast<cudaStream_t>(stream);
  const int targets = static_cast<int>(in.targets);
  const int64_t sums = in.candidates * (targets * kPairFields + kSignalFields);
  if (sums == 0) return;
  coupling_kernel<<<grid_of(in), kThreads, 0, s>>>(in, options, scratch);
  check_launch("coupling_stats");
  add_blocks_kernel<<<static_cast<unsigned>((sums + 127) / 128), 128, 0, s>>>(
      scratch, coupling_blocks(in.groups), in.candidates, targets, pair, signal);
  check_launch("coupling_stats");
}

template <class T>
void group_coupling(const Rollouts<T>& in, double* correlation, int64_t* count, void* stream) {
  if (in.groups == 0 || in.candidates == 0) return;
  group_coupling_kernel<<<grid_of(in), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      in, correlation, count);
  check_launch("group_coupling");
}

template <class T>
void group_advantage(const Rollouts<T>& in, double eps, T* scaled, T* centred, void* stream) {
  if (in.groups == 0 || in.candidates == 0) return;
  group_advantage_kernel<<<grid_of(in), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      in, eps, scaled, centred);
  check_launch("group_advantage");
}

#define PERCBAL_INSTANTIATE(T)                                                                  \
  template void coupling_stats(const Rollouts<T>&, const CouplingOptions&, double*, double*,    \
                               double*, void*);                                                 \
  template void group_coupling(const Rollouts<T>&, double*, int64_t*, void*);                   \
  template void group_advantage(const Rollouts<T>&, double, T*, T*, void*);
PERCBAL_INSTANTIATE(float)
PERCBAL_INSTANTIATE(double)

}  // namespace percbal::cuda
