// The cross-entropy kernels: loops over rows and over the pieces of a row, whose columns
// cross_entropy_rows.h and cross_entropy_general.h go through. Compiled once per instruction set.
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/losses/cross_entropy_row.h"
#include "core/simd/float16.h"
#include "core/simd/level_begin.h"
// in this order: each builds on the one before
#include "core/simd/vectors.h"
#include "core/simd/vectors_memory.h"
#include "core/losses/cross_entropy_rows.h"
#include "core/losses/cross_entropy_general.h"

namespace percbal::PERCBAL_LEVEL {

template <class T>
struct Rows {
  using Acc = AccOf<T>;
  const CrossEntropyArgs& args;
  double share = args.label_smoothing / args.classes;
  Acc softcap = static_cast<Acc>(args.softcap);

  // A row lies in pieces of this many columns.
  int64_t piece() const { return args.tile != 0 ? args.tile : args.classes; }
  int64_t columns(int64_t first) const {
    return first + piece() < args.classes ? piece() : args.classes - first;
  }
  int64_t tiled(int64_t row, int64_t column) const {
    const int64_t within = column % args.tile, first = column - within;
    return first / args.tile * args.tile_stride + row * columns(first) + within;
  }
  // Both good up to the end of the piece that the column is in.
  const T* logits(int64_t row, int64_t column) const {
    const auto* base = static_cast<const T*>(args.logits);
    return base + (args.tile != 0 ? tiled(row, column) : row * args.row_stride + column);
  }
  T* dlogits(int64_t row, int64_t column) const {
    auto* base = static_cast<T*>(args.dlogits);
    return base + (args.tile != 0 ? tiled(row, column) : row * args.classes + column);
  }
  const Acc* class_weight(int64_t column) const {
    const auto* weight = static_cast<const Acc*>(args.class_weight);
    return weight != nullptr ? weight + column : nullptr;
  }
  int64_t target(int64_t row) const { return args.target[row * args.target_stride]; }
  double row_weight(int64_t row) const {
    return static_cast<const Acc*>(args.row_weight)[row * args.row_weight_stride];
  }
  RowOptions options(int64_t target) const {
    const Acc* weight = class_weight(target);
    return {weight ? *weight : 1.0, args.class_weight_sum, args.label_smoothing, args.z_loss,
            share};
  }
  Capped at_target(int64_t row, int64_t target) const {
    return capped(load_some(logits(row, target), 1)[0], args.softcap);
  }

  NontargetSums sums(int64_t row, int64_t target) const {
    NontargetSums result;
    for (int64_t first = 0; first < args.classes; first += piece()) {
      const int64_t count = columns(first), end = first + count;
      const T* z = logits(row, first);
      if (args.softcap != 0) {
        add_general<T, true>(z, class_weight(first), count, target - first, softcap, result);
      } else if (share != 0) {
        add_general<T, false>(z, class_weight(first), count, target - first, softcap, result);
      } else {
        const T* next = end < args.classes ? logits(row, end) : logits(row + 1, 0);
        add_plain(z, count, target - first, next, result);
      }
    }
    return result;
  }

  void clear_gradient(int64_t row) const {
    for (int64_t first = 0; first < args.classes; first += piece())
      memset(dlogits(row, first), 0, columns(first) * sizeof(T));
  }

  // (M4) times the row weight.
  void gradient(int64_t row, int64_t target, const RowStats& stats, double slope) const {
    const RowGradient grad = row_gradient(stats, options(target));
    double weight = row_weight(row);
    if (weight != weight) weight = __builtin_nan("");  // store_pair knows only the default NaN
    const double nontarget = weight * grad.nontarget, uniform = weight * grad.uniform;
    for (int64_t first = 0; first < args.classes; first += piece()) {
      const int64_t count = columns(first);
      const T* in = logits(row, first);
      T* out = dlogits(row, first);
      if (args.softcap != 0)
        general_gradient<T, true>(in, out, class_weight(first), count, softcap, stats.max_logit,
                                  nontarget, uniform);
      else if (share != 0)
        general_gradient<T, false>(in, out, class_weight(first), count, softcap,
                                   stats.max_logit, nontarget, uniform);
      else
        plain_gradient(in, out, count, stats.max_logit, nontarget);
    }
    store_some(dlogits(row, target), broadcast<Acc>(weight * slope * grad.target), 1);
  }
};

template <class Acc>
void write_row(const CrossEntropyArgs& args, int64_t row, const RowResult& result) {
  static_cast<Acc*>(args.loss)[row] = static_cast<Acc>(result.loss);
  static_cast<Acc*>(args.grad_sq)[row] = static_cast<Acc>(result.grad_sq);
  if (args.stats == nullptr) return;
  Acc* stats = static_cast<Acc*>(args.stats) + 4 * row;
  stats[0] = static_cast<Acc>(result.stats.max_logit);
  stats[1] = static_cast<Acc>(result.stats.ratio);
  stats[2] = static_cast<Acc>(result.stats.one_minus_p);
  stats[3] = static_cast<Acc>(result.stats.lse);
}

template <class T>
void forward(const CrossEntropyArgs& args, int64_t begin, int64_t end) {
  const Rows<T> rows{args};
  for (int64_t row = begin; row < end; ++row) {
    const int64_t target = rows.target(row);
    if (target == args.ignore_index) {
      write_row<AccOf<T>>(args, row, {});
      if (args.dlogits != nullptr) rows.clear_gradient(row);
      continue;
    }
    const Capped at_target = rows.at_target(row, target);
    const RowResult result = finish_row(rows.sums(row, target), at_target, rows.options(target));
    write_row<AccOf<T>>(args, row, result);
    if (args.dlogits != nullptr) rows.gradient(row, target, result.stats, at_target.slope);
  }
}

template <class T>
void backward(const CrossEntropyArgs& args, int64_t begin, int64_t end) {
  const Rows<T> rows{args};
  for (int64_t row = begin; row < end; ++row) {
    const int64_t target = rows.target(row);
    if (target == args.ignore_index) {
      rows.clear_gradient(row);
      continue;
    }
    const auto* stats = static_cast<const AccOf<T>*>(args.stats) + 4 * row;
    const Capped at_target = rows.at_target(row, target);
    rows.gradient(row, target, with_p_target(stats[0], stats[1], stats[2], stats[3], at_target),
                  at_target.slope);
  }
}

template <class T>
void scale(void* data, int64_t begin, int64_t end, double factor) {
  using Acc = AccOf<T>;
  constexpr int width = Simd<Acc>::width;
  T* x = static_cast<T*>(data);
  const Vec<Acc> f = broadcast<Acc>(factor);
  int64_t i = begin;
  for (; i + width <= end; i += width) store(x + i, f * load(x + i));
  if (i < end) store_some(x + i, f * load_some(x + i, end - i), end - i);
}

template <class T>
constexpr CrossEntropyKernels kernels_of() {
  return {forward<T>, backward<T>, scale<T>};
}

CrossEntropyKernels cross_entropy_kernels(Dtype dtype) {
  switch (dtype) {
    case Dtype::f64:
      return kernels_of<double>();
    case Dtype::bf16:
      return kernels_of<bf16>();
    case Dtype::f16:
      return kernels_of<f16>();
    default:
      return kernels_of<float>();
  }
}

}  // namespace percbal::PERCBAL_LEVEL

#include "core/simd/level_end.h"
