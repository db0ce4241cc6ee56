// `percbal_cuda::weighted_cross_entropy_out`: the launch of the cluster kernel, on the stable ABI.
// The operators, their schemas and their gradients are in percbal_ops/losses/library.py;
// dispatch.py chooses between this launch and Triton's.
#include <cstdint>
#include <optional>
#include <string>

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>

#include "checks.h"
#include "cuda/cross_entropy.h"

namespace percbal::cuda {
namespace {

Dtype kernel_dtype(const Tensor& logits) {
  switch (logits.scalar_type()) {
    case ScalarType::Float:
      return Dtype::f32;
    case ScalarType::BFloat16:
      return Dtype::bf16;
    default:
      STD_TORCH_CHECK(logits.scalar_type() == ScalarType::Half,
                      "logits must be float32, bfloat16 or float16, got another dtype");
      return Dtype::f16;
  }
}

// A kernel would take an address of the host, or of another GPU, for one of its own.
void check_device(const Tensor& x, const Tensor& logits, const char* name) {
  STD_TORCH_CHECK(x.is_cuda() && x.get_device_index() == logits.get_device_index(), name,
                  " must be on the GPU of logits, ", logits.get_device_index(), ", got ",
                  x.is_cuda() ? std::to_string(x.get_device_index()) : "another device");
}

const float* floats(const Tensor& x, int64_t length, const Tensor& logits, const char* name) {
  check_device(x, logits, name);
  check_length(x, length, name);
  STD_TORCH_CHECK(x.scalar_type() == ScalarType::Float, name, " must be float32");
  return x.const_data_ptr<float>();
}

void check_layout(const Tensor& logits, const Tensor& dlogits) {
  const int64_t bytes = logits.element_size();
  STD_TORCH_CHECK(logits.stride(1) == 1 && logits.stride(0) * bytes % 16 == 0 &&
                      logits.size(1) * bytes % 16 == 0 &&
                      reinterpret_cast<uintptr_t>(logits.const_data_ptr()) % 16 == 0,
                  "every row of logits must begin and end on 16 bytes, got rows of ",
                  logits.size(1), " with stride ", logits.stride(0));
  STD_TORCH_CHECK(logits.size(0) < (1 << 27) && logits.size(1) < (1 << 30),
                  "logits have too many rows or classes: ", shape_of(logits));
  STD_TORCH_CHECK(dlogits.is_contiguous() && dlogits.size(0) == logits.size(0) &&
                      dlogits.size(1) == logits.size(1) &&
                      dlogits.scalar_type() == logits.scalar_type(),
                  "dlogits must be contiguous and like logits, got shape ", shape_of(dlogits));
}

void weighted_cross_entropy_out(Tensor logits, Tensor target, Tensor row_weight,
                                std::optional<Tensor> weight, Tensor loss, Tensor grad_sq,
                                Tensor dlogits, int64_t ignore_index, double z_loss) {
  check_matrix(logits, "logits");
  check_matrix(dlogits, "dlogits");
  check_device(dlogits, logits, "dlogits");
  check_layout(logits, dlogits);
  const int64_t rows = logits.size(0), classes = logits.size(1);
  check_device(target, logits, "target");
  check_length(target, rows, "target");
  STD_TORCH_CHECK(target.scalar_type() == ScalarType::Long, "target must be int64");
  CrossEntropyArgs args{};
  args.dtype = kernel_dtype(logits);
  args.logits = logits.const_data_ptr();
  args.rows = rows;
  args.row_stride = logits.stride(0);
  args.classes = static_cast<int>(classes);
  args.target = target.const_data_ptr<int64_t>();
  args.target_stride = target.stride(0);
  args.row_weight = floats(row_weight, rows, logits, "row_weight");
  args.row_weight_stride = row_weight.stride(0);
  if (weight.has_value()) {
    args.class_weight = floats(*weight, classes, logits, "weight");
    STD_TORCH_CHECK(weight->stride(0) == 1, "weight must be contiguous");
  }
  args.loss = const_cast<float*>(floats(loss, rows, logits, "loss"));
  args.grad_sq = const_cast<float*>(floats(grad_sq, rows, logits, "grad_sq"));
  args.dlogits = dlogits.mutable_data_ptr();
  args.ignore_index = ignore_index;
  args.z_loss = static_cast<float>(z_loss);
  const torch::stable::accelerator::DeviceGuard guard(logits.get_device_index());
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(
      aoti_torch_get_current_cuda_stream(logits.get_device_index(), &stream));
  const char* problem = launch_cross_entropy(args, stream);
  STD_TORCH_CHECK(problem == nullptr, "the CUDA cross-entropy was not launched: ", problem);
}

}  // namespace
}  // namespace percbal::cuda

STABLE_TORCH_LIBRARY(percbal_cuda, m) {
  m.def(
      "weighted_cross_entropy_out(Tensor logits, Tensor target, Tensor row_weight, "
      "Tensor? weight, Tensor(a!) loss, Tensor(b!) grad_sq, Tensor(c!) dlogits, "
      "int ignore_index, float z_loss) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(percbal_cuda, CUDA, m) {
  m.impl("weighted_cross_entropy_out",
         TORCH_BOX(&percbal::cuda::weighted_cross_entropy_out));
}
