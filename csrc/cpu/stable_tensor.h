// Small conveniences over the LibTorch stable ABI, for CPU kernels.
#pragma once
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstring>
#include <optional>
#include <tuple>
#include <vector>

#include "core/simd/parallel.h"

namespace percbal {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <class T>
T* data(const Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

template <class T>
Tensor tensor_of(const std::vector<T>& values, ScalarType dtype, const Tensor& like) {
  Tensor out = torch::stable::new_empty(like, {static_cast<int64_t>(values.size())}, dtype);
  if (!values.empty()) std::memcpy(out.data_ptr(), values.data(), values.size() * sizeof(T));
  return out;
}

// Calls f.operator()<float>() or <double>(), by the tensor's dtype.
template <class F>
void for_float(const Tensor& tensor, const F& f) {
  if (tensor.scalar_type() == ScalarType::Float) {
    f.template operator()<float>();
  } else {
    STD_TORCH_CHECK(tensor.scalar_type() == ScalarType::Double, "expected float32 or float64");
    f.template operator()<double>();
  }
}

inline Parallel torch_parallel() {
  return [](int64_t tasks, const std::function<void(int64_t)>& task) {
    torch::stable::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) task(i);
    });
  };
}

}  // namespace percbal
