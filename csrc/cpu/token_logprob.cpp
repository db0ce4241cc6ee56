// Rows of token log-probabilities for the CPU key; schemas in percbal_ops/linear/logprob.py.
#include "core/logprob/token_logprob.h"

#include <tuple>

#include <torch/csrc/stable/library.h>

#include "checks.h"
#include "cpu/logits.h"

namespace percbal {
namespace {

Tensor dense(const Tensor& x, ScalarType dtype) {
  return torch::stable::contiguous(as_dtype(x, dtype));
}

TokenLogprobArgs arguments(const Tensor& logits, const Tensor& target, double temperature,
                           double softcap) {
  TokenLogprobArgs args{};
  args.logits = logits.data_ptr();
  args.classes = logits.size(1);
  args.row_stride = logits.stride(0);
  args.target = target.const_data_ptr<int64_t>();
  args.temperature = temperature;
  args.softcap = softcap;
  for (int64_t row = 0; row < logits.size(0); ++row)
    STD_TORCH_CHECK(args.target[row] >= 0 && args.target[row] < args.classes, "Target ",
                    args.target[row], " is out of bounds.");
  return args;
}

void check(const Tensor& logits, const Tensor& target) {
  check_matrix(logits, "logits");
  check_float(logits, "logits");
  check_length(target, logits.size(0), "target");
}

void run(LogprobFunction TokenLogprobKernels::* pass, const TokenLogprobArgs& args,
         const Tensor& logits) {
  const auto kernels = token_logprob_kernels(core_dtype(logits.scalar_type()), cpu_level());
  const int64_t grain = (kLogitsPerThread + args.classes - 1) / args.classes;
  torch::stable::parallel_for(0, logits.size(0), grain, [&](int64_t begin, int64_t end) {
    (kernels.*pass)(args, begin, end);
  });
}

std::tuple<Tensor, Tensor, Tensor> token_logprob_rows(Tensor logits, Tensor target,
                                                      double temperature, double softcap) {
  check(logits, target);
  const ScalarType acc = accumulate_dtype(logits);
  const int64_t n = logits.size(0);
  Tensor logprob = torch::stable::new_empty(logits, {n}, acc);
  Tensor entropy = torch::stable::new_empty(logits, {n}, acc);
  Tensor stats = torch::stable::new_empty(logits, {n, kLogprobStats}, acc);
  if (logits.numel() == 0) return {logprob, entropy, stats};
  const Tensor rows = logits.stride(1) == 1 ? logits : torch::stable::contiguous(logits);
  const Tensor index = dense(target, ScalarType::Long);
  TokenLogprobArgs args = arguments(rows, index, temperature, softcap);
  args.logprob = logprob.mutable_data_ptr();
  args.entropy = entropy.mutable_data_ptr();
  args.stats = stats.mutable_data_ptr();
  run(&TokenLogprobKernels::forward, args, rows);
  return {logprob, entropy, stats};
}

// The gradient of a row takes the place of its logits: each is read before it is written.
void token_logprob_gradient_(Tensor logits, Tensor target, Tensor stats, Tensor grad_logprob,
                             Tensor grad_entropy, double temperature, double softcap) {
  check(logits, target);
  const int64_t n = logits.size(0);
  check_length(grad_logprob, n, "grad_logprob");
  check_length(grad_entropy, n, "grad_entropy");
  STD_TORCH_CHECK(stats.dim() == 2 && stats.size(0) == n && stats.size(1) == kLogprobStats,
                  "stats must be (", n, ", ", kLogprobStats, "), got shape ", shape_of(stats));
  STD_TORCH_CHECK(logits.is_contiguous(), "logits must be contiguous to be written in place");
  if (logits.numel() == 0) return;
  const ScalarType acc = accumulate_dtype(logits);
  const Tensor index = dense(target, ScalarType::Long), saved = dense(stats, acc);
  const Tensor a = dense(grad_logprob, acc), b = dense(grad_entropy, acc);
  TokenLogprobArgs args = arguments(logits, index, temperature, softcap);
  args.stats = saved.data_ptr();
  args.grad_logprob = a.const_data_ptr();
  args.grad_entropy = b.const_data_ptr();
  run(&TokenLogprobKernels::backward, args, logits);
}

STABLE_TORCH_LIBRARY_IMPL(percbal, CPU, m) {
  m.impl("token_logprob_rows", TORCH_BOX(&token_logprob_rows));
  m.impl("token_logprob_gradient_", TORCH_BOX(&token_logprob_gradient_));
}

}  // namespace
}  // namespace percbal
