// Checks at the edge of the C++ operators, on the stable ABI: one clear sentence with the value.
#pragma once
#include <cstdint>
#include <string>

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

namespace percbal {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline std::string shape_of(const Tensor& x) {
  std::string text = "(";
  for (int64_t i = 0; i < x.dim(); ++i) text += (i ? ", " : "") + std::to_string(x.size(i));
  return text + ")";
}

inline bool is_float(ScalarType dtype) {
  return dtype == ScalarType::Float || dtype == ScalarType::Double ||
         dtype == ScalarType::BFloat16 || dtype == ScalarType::Half;
}

inline void check_matrix(const Tensor& x, const char* name) {
  STD_TORCH_CHECK(x.dim() == 2, name, " must be (N, V), got shape ", shape_of(x));
}

inline void check_float(const Tensor& x, const char* name) {
  STD_TORCH_CHECK(is_float(x.scalar_type()), name,
                  " must be float32, float64, bfloat16 or float16, got another dtype");
}

inline void check_length(const Tensor& x, int64_t length, const char* name) {
  STD_TORCH_CHECK(x.dim() == 1 && x.size(0) == length, name, " must be (", length,
                  ",), got shape ", shape_of(x));
}

inline Tensor as_dtype(const Tensor& x, ScalarType dtype) {
  return x.scalar_type() == dtype ? x : torch::stable::to(x, dtype);
}

}  // namespace percbal
