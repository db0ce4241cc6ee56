// Weighted cross-entropy of long rows on Hopper: one read and one write of the logits.
// Torch-free: plain device pointers, sizes and strides counted in elements.
#pragma once
#include <cstdint>

namespace percbal::cuda {

enum class Dtype { f32, bf16, f16 };

struct CrossEntropyArgs {
  Dtype dtype;
  const void* logits;  // (rows, classes); every row begins on 16 bytes
  int64_t rows, row_stride;
  int classes;            // a multiple of 16 bytes
  const int64_t* target;  // (rows,); one out of range makes its row NaN
  int64_t target_stride;
  const float* row_weight;  // (rows,)
  int64_t row_weight_stride;
  const float* class_weight;  // (classes,), or null
  float* loss;                // (rows,)
  float* grad_sq;             // (rows,), of the unweighted loss
  void* dlogits;              // (rows, classes), contiguous
  int64_t ignore_index;
  float z_loss;
};

// Null if launched, else a sentence that says why not. The environment variable
// PERCBAL_CLUSTER_BLOCKS = 1, 2, 4, 8 or 16, read at every launch, sets the number of blocks that
// share a row; it is there for measurements.
const char* launch_cross_entropy(const CrossEntropyArgs& args, void* stream);

}  // namespace percbal::cuda
