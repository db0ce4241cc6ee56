// The loops over a row, for one instruction set; included once per level after simd_memory.h.
//
// A block of a row is read from memory once: its maximum and its sums are taken while it is in the
// first-level cache. The gradient reads the row a second time, from the second-level cache. Block
// sums run in lanes of acc and are added up in fp64, so their error does not grow with the row.
namespace percbal::PERCBAL_LEVEL {

constexpr int kUnroll = 4;  // independent chains, to hide the latency of a fused multiply-add
constexpr int64_t kBlock = 2048;  // logits: 8 KiB of fp32, well inside the first-level cache

template <class T>
using AccOf = typename Accumulate<T>::type;

template <class Acc>
PERCBAL_INLINE Vec<Acc> tree_sum(const Vec<Acc> (&v)[kUnroll]) {
  return (v[0] + v[1]) + (v[2] + v[3]);
}

// Adds S1 and S2 of `count` logits, a multiple of kUnroll vectors. `next` is prefetched meanwhile.
template <class T>
PERCBAL_INLINE void add_block(const T* x, int64_t count, const T* next, RivalSums& sums) {
  using Acc = AccOf<T>;
  constexpr int width = Simd<Acc>::width;
  Vec<Acc> best[kUnroll];
  for (auto& lanes : best) lanes = broadcast<Acc>(-__builtin_inf());
  for (int64_t i = 0; i < count; i += kUnroll * width)
    for (int k = 0; k < kUnroll; ++k) best[k] = max(load(x + i + k * width), best[k]);
  const double peak = lane_max(max(max(best[0], best[1]), max(best[2], best[3])));
  if (peak > sums.peak) sums.raise_peak(peak);

  const Vec<Acc> shift = broadcast<Acc>(sums.shift());
  Vec<Acc> s1[kUnroll] = {}, s2[kUnroll] = {};
  for (int64_t i = 0; i < count; i += kUnroll * width)
    for (int k = 0; k < kUnroll; ++k) {
      __builtin_prefetch(next + i + k * width);
      const Vec<Acc> e = exp<Acc>(load(x + i + k * width) - shift);
      s1[k] += e;
      s2[k] = fma(e, e, s2[k]);
    }
  sums.s1 += lane_sum(tree_sum<Acc>(s1));
  sums.s2 += lane_sum(tree_sum<Acc>(s2));
}

// Sums over the rivals of one row, the plain case. The block with the target, and a last block that
// is not whole, are copied so that -inf can stand where no rival is.
template <class T>
RivalSums plain_sums(const T* row, int64_t classes, int64_t target) {
  constexpr int64_t step = kUnroll * Simd<AccOf<T>>::width;
  RivalSums sums;
  alignas(64) T copy[kBlock];
  for (int64_t begin = 0; begin < classes; begin += kBlock) {
    const int64_t count = classes - begin < kBlock ? classes - begin : kBlock;
    const int64_t padded = (count + step - 1) / step * step;
    const T* x = row + begin;
    const bool has_target = target >= begin && target < begin + count;
    if (has_target || padded != count) {
      memcpy(copy, x, count * sizeof(T));
      for (int64_t i = count; i < padded; ++i) copy[i] = minus_infinity<T>();
      if (has_target) copy[target - begin] = minus_infinity<T>();
      x = copy;
    }
    add_block(x, padded, row + begin + count, sums);
  }
  return sums;
}

// dz_i = factor exp(z_i - shift), for all i: the caller overwrites the target's.
template <class T>
void plain_gradient(const T* row, T* out, int64_t classes, double shift, double factor) {
  using Acc = AccOf<T>;
  constexpr int width = Simd<Acc>::width;
  const Vec<Acc> m = broadcast<Acc>(shift), f = broadcast<Acc>(factor);
  int64_t i = 0;
  for (; i + kUnroll * width <= classes; i += kUnroll * width)
    for (int k = 0; k < kUnroll; ++k)
      store(out + i + k * width, f * exp<Acc>(load(row + i + k * width) - m));
  for (; i < classes; i += width) {
    const int64_t count = classes - i < width ? classes - i : width;
    store_some(out + i, f * exp<Acc>(load_some(row + i, count) - m), count);
  }
}

}  // namespace percbal::PERCBAL_LEVEL
