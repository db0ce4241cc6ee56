// What the bindings of the row kernels share: the core's name for a dtype, and the grain of work.
#pragma once
#include <cstdint>

#include "checks.h"
#include "core/losses/cross_entropy.h"

namespace percbal {

// Threads are not worth waking for less than this many logits each.
constexpr int64_t kLogitsPerThread = 1 << 15;

inline Dtype core_dtype(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Double:
      return Dtype::f64;
    case ScalarType::BFloat16:
      return Dtype::bf16;
    case ScalarType::Half:
      return Dtype::f16;
    default:
      return Dtype::f32;
  }
}

inline ScalarType accumulate_dtype(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

}  // namespace percbal
