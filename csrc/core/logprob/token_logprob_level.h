// The loops over a row for log-probability and entropy, compiled once per instruction set.
//
// A block of a row is widened into the first-level cache, where the target and what lies past the
// end become -inf; its maximum and its sums are taken there.
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/logprob/token_logprob.h"
#include "core/losses/cross_entropy_row.h"
#include "core/simd/float16.h"
#include "core/simd/level_begin.h"
// in this order: each builds on the one before
#include "core/simd/vectors.h"
#include "core/simd/vectors_memory.h"
#include "core/losses/cross_entropy_rows.h"
#include "core/losses/cross_entropy_general.h"

namespace percbal::PERCBAL_LEVEL {

// exp of it is 0 in fp64 too; 0 * 1000 is 0 where 0 * inf would be NaN.
template <class Acc>
constexpr Acc kDeepest = -1000;

// -g of EntropySums; a NaN stays one.
template <class Acc>
PERCBAL_INLINE Vec<Acc> minus_gap(Vec<Acc> u, Vec<Acc> max_logit, Vec<Acc> inverse) {
  return max(broadcast<Acc>(kDeepest<Acc>), (u - max_logit) * inverse);
}

template <class T, bool Cap>
struct LogprobRows {
  using Acc = AccOf<T>;
  static constexpr int width = Simd<Acc>::width;
  static constexpr int64_t block = kBlock<T>;
  const TokenLogprobArgs& args;
  const Acc softcap = static_cast<Acc>(args.softcap);
  const Acc inverse = static_cast<Acc>(1 / args.temperature);

  T* logits(int64_t row) const { return static_cast<T*>(args.logits) + row * args.row_stride; }
  Capped at_target(int64_t row) const {
    return capped(load_some(logits(row) + args.target[row], 1)[0], args.softcap);
  }

  // u of `count` logits, -inf up to the next multiple of four vectors, which is returned.
  int64_t widen(const T* from, int64_t count, Acc* u) const {
    Vec<Acc> slope;
    for (int64_t i = 0; i < count; i += width) {
      const int64_t left = count - i;
      const Vec<Acc> z = left >= width ? load(from + i) : load_some(from + i, left);
      Vec<Acc> capped;
      cap_lanes<Acc, Cap>(z, softcap, capped, slope);
      store(u + i, capped);
    }
    const int64_t padded = (count + 4 * width - 1) / (4 * width) * (4 * width);
    for (int64_t i = count; i < padded; ++i) u[i] = minus_infinity<Acc>();
    return padded;
  }

  void add_block(const Acc* u, int64_t padded, EntropySums& sums) const {
    Vec<Acc> best[4];
    for (auto& lanes : best) lanes = broadcast<Acc>(-__builtin_inf());
    for (int64_t i = 0; i < padded; i += 4 * width)
      for (int k = 0; k < 4; ++k) best[k] = max(load(u + i + k * width), best[k]);
    const double max_logit = lane_max(max(max(best[0], best[1]), max(best[2], best[3])));
    if (max_logit > sums.max_logit) sums.raise_max(max_logit, args.temperature);

    const Vec<Acc> shift = broadcast<Acc>(static_cast<Acc>(sums.shift()));
    const Vec<Acc> factor = broadcast<Acc>(inverse);
    Vec<Acc> s1[4] = {}, s5[4] = {};
    for (int64_t i = 0; i < padded; i += 4 * width)
      for (int k = 0; k < 4; ++k) {
        const Vec<Acc> fall = minus_gap<Acc>(load(u + i + k * width), shift, factor);
        const Vec<Acc> e = exp<Acc>(fall);
        s1[k] += e;
        s5[k] = fma(e, -fall, s5[k]);
      }
    sums.s1 += lane_sum((s1[0] + s1[1]) + (s1[2] + s1[3]));
    sums.s5 += lane_sum((s5[0] + s5[1]) + (s5[2] + s5[3]));
  }

  void forward(int64_t row) const {
    alignas(64) Acc u[block];
    EntropySums sums;
    const T* from = logits(row);
    const int64_t target = args.target[row];
    for (int64_t begin = 0; begin < args.classes; begin += block) {
      const int64_t left = args.classes - begin;
      const int64_t count = left < block ? left : block;
      const int64_t padded = widen(from + begin, count, u);
      if (target >= begin && target < begin + count) u[target - begin] = minus_infinity<Acc>();
      add_block(u, padded, sums);
    }
    const LogprobRow result = finish_logprob_row(sums, at_target(row).value, args.temperature);
    static_cast<Acc*>(args.logprob)[row] = static_cast<Acc>(result.logprob);
    static_cast<Acc*>(args.entropy)[row] = static_cast<Acc>(result.entropy);
    for (int i = 0; i < kLogprobStats; ++i)
      static_cast<Acc*>(args.stats)[row * kLogprobStats + i] = static_cast<Acc>(result.stats[i]);
  }

  // a d(ln p_y)/dz + b dH/dz over the logits.
  void backward(int64_t row) const {
    const Acc* stats = static_cast<const Acc*>(args.stats) + row * kLogprobStats;
    double a = static_cast<const Acc*>(args.grad_logprob)[row];
    double b = static_cast<const Acc*>(args.grad_entropy)[row];
    if (a != a || b != b) a = b = __builtin_nan("");  // bf16 stores know only the default NaN
    const double at_y = at_target(row).slope * (a * stats[2] + b * stats[4]) / args.temperature;
    const Vec<Acc> max_logit = broadcast<Acc>(stats[0]), factor = broadcast<Acc>(inverse);
    const Vec<Acc> ratio = broadcast<Acc>(static_cast<Acc>(stats[1] / args.temperature));
    const Vec<Acc> offset = broadcast<Acc>(static_cast<Acc>(b * stats[3] - a));
    const Vec<Acc> minus_b = broadcast<Acc>(static_cast<Acc>(-b));
    T* data = logits(row);
    for (int64_t i = 0; i < args.classes; i += width) {
      const int64_t left = args.classes - i;
      const Vec<Acc> z = left >= width ? load(data + i) : load_some(data + i, left);
      Vec<Acc> u, slope;
      cap_lanes<Acc, Cap>(z, softcap, u, slope);
      const Vec<Acc> fall = minus_gap<Acc>(u, max_logit, factor);
      Vec<Acc> grad = ratio * exp<Acc>(fall) * fma(minus_b, fall, offset);
      if constexpr (Cap) grad = grad * slope;
      left >= width ? store(data + i, grad) : store_some(data + i, grad, left);
    }
    store_some(data + args.target[row], broadcast<Acc>(static_cast<Acc>(at_y)), 1);
  }
};

template <class T>
void logprob_forward(const TokenLogprobArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row)
    args.softcap != 0 ? LogprobRows<T, true>{args}.forward(row)
                      : LogprobRows<T, false>{args}.forward(row);
}

template <class T>
void logprob_backward(const TokenLogprobArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row)
    args.softcap != 0 ? LogprobRows<T, true>{args}.backward(row)
                      : LogprobRows<T, false>{args}.backward(row);
}

TokenLogprobKernels token_logprob_kernels(Dtype dtype) {
  switch (dtype) {
    case Dtype::f64:
      return {logprob_forward<double>, logprob_backward<double>};
    case Dtype::bf16:
      return {logprob_forward<bf16>, logprob_backward<bf16>};
    case Dtype::f16:
      return {logprob_forward<f16>, logprob_backward<f16>};
    default:
      return {logprob_forward<float>, logprob_backward<float>};
  }
}

}  // namespace percbal::PERCBAL_LEVEL

#include "core/simd/level_end.h"
