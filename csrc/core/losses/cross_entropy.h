// Cross-entropy of rows of logits: loss, squared gradient norm and gradient; docs/math.md (M1)-(M5).
// Torch-free: plain pointers, sizes and strides counted in elements.
#pragma once
#include <cstdint>

#include "core/simd/dispatch.h"

namespace percbal {

enum class Dtype { f32, f64, bf16, f16 };

// acc below is fp64 for fp64 logits, else fp32.
struct CrossEntropyArgs {
  const void* logits;  // (rows, classes) of the dtype; unit class stride
  int64_t classes, row_stride;
  // Where tile is not 0, no row lies in one piece: columns [b tile, (b + 1) tile) of all rows are a
  // dense matrix at logits + b tile_stride, the last one narrower, and dlogits has the same layout.
  int64_t tile, tile_stride;
  const int64_t* target;  // (rows,), each ignore_index or in [0, classes): checked by the caller
  int64_t target_stride;
  const void* class_weight;  // (classes,) acc, or null
  double class_weight_sum;   // classes where class_weight is null
  const void* row_weight;    // (rows,) acc: dlogits is the gradient of sum row_weight * loss
  int64_t row_weight_stride;
  void* loss;     // (rows,) acc
  void* grad_sq;  // (rows,) acc, of the unweighted loss
  void* stats;    // (rows, 4) acc: m, q / S1, q = 1 - p_y, L; may be null in forward
  void* dlogits;  // (rows, classes) of the dtype, contiguous; may be null in forward
  int64_t ignore_index;
  double label_smoothing, z_loss, softcap;  // softcap 0: none
};

// Both work on the rows [begin, end), each row independently of all others.
using RowsFunction = void (*)(const CrossEntropyArgs&, int64_t begin, int64_t end);
// data[begin, end) *= factor, data being of the dtype.
using ScaleFunction = void (*)(void* data, int64_t begin, int64_t end, double factor);

struct CrossEntropyKernels {
  RowsFunction forward;   // writes loss, grad_sq, and stats and dlogits where given
  RowsFunction backward;  // reads stats, writes dlogits
  ScaleFunction scale;
};

CrossEntropyKernels cross_entropy_kernels(Dtype dtype, CpuLevel level);

}  // namespace percbal
