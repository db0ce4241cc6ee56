// CUDA kernels of the reward-coupling and agreement operators, on the stable ABI. group_layout has
// none: on CUDA it is a few calls of torch (percbal_ops/coupling/reference.py).
#include <torch/csrc/stable/accelerator.h>

#include "cpu/coupling_columns.h"
#include "cuda/agreement.h"
#include "cuda/coupling.h"

namespace percbal::cuda {
namespace {

using torch::stable::accelerator::DeviceGuard;

void* stream_of(const Tensor& tensor) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
  return stream;
}

std::tuple<Tensor, Tensor> coupling_stats_cuda(const Tensor& outcome, const Tensor& perception,
                                               const std::optional<Tensor>& reasoning,
                                               const Tensor& order, const Tensor& offsets,
                                               const Tensor& origin_outcome,
                                               const Tensor& origin_target, double eps,
                                               double right_at) {
  const DeviceGuard guard(outcome.get_device_index());
  const int64_t c = outcome.size(1), t = reasoning ? 2 : 1;
  const Origins origins(c, t, origin_outcome, origin_target);
  const int64_t blocks = coupling_blocks(offsets.numel() - 1);
  Tensor scratch = torch::stable::new_empty(outcome, {blocks, c, t * kPairFields + kSignalFields},
                                            ScalarType::Double);
  Tensor pair = torch::stable::new_empty(outcome, {t, c, kPairFields}, ScalarType::Double);
  Tensor signal = torch::stable::new_empty(outcome, {c, kSignalFields}, ScalarType::Double);
  for_float(outcome, [&]<class T>() {
    const Columns<T> columns(outcome, perception, reasoning, order, offsets);
    coupling_stats(columns.view, origins.options(eps, right_at), data<double>(scratch),
                   data<double>(pair), data<double>(signal), stream_of(outcome));
  });
  return {pair, signal};
}

std::tuple<Tensor, Tensor> group_coupling_cuda(const Tensor& outcome, const Tensor& perception,
                                               const std::optional<Tensor>& reasoning,
                                               const Tensor& order, const Tensor& offsets) {
  const DeviceGuard guard(outcome.get_device_index());
  const int64_t c = outcome.size(1), t = reasoning ? 2 : 1, g = offsets.numel() - 1;
  Tensor correlation = torch::stable::new_empty(outcome, {t, c, g}, ScalarType::Double);
  Tensor count = torch::stable::new_empty(outcome, {t, c, g}, ScalarType::Long);
  for_float(outcome, [&]<class T>() {
    const Columns<T> columns(outcome, perception, reasoning, order, offsets);
    group_coupling(columns.view, data<double>(correlation), data<int64_t>(count),
                   stream_of(outcome));
  });
  return {correlation, count};
}

std::tuple<Tensor, Tensor> group_advantage_cuda(const Tensor& outcome, const Tensor& order,
                                                const Tensor& offsets, double eps) {
  const DeviceGuard guard(outcome.get_device_index());
  Tensor scaled = torch::stable::new_empty(outcome, outcome.sizes());
  Tensor centred = torch::stable::new_empty(outcome, outcome.sizes());
  for_float(outcome, [&]<class T>() {
    const Columns<T> columns(outcome, order, offsets);
    group_advantage(columns.view, eps, data<T>(scaled), data<T>(centred), stream_of(outcome));
  });
  return {scaled, centred};
}

// longest: tokens of the longest rollout, which sizes the scratch memory.
Tensor group_agreement_cuda(const Tensor& tokens, const Tensor& offsets, const Tensor& order,
                            const Tensor& group_offsets, int64_t kind, int64_t longest) {
  const DeviceGuard guard(tokens.get_device_index());
  const Ragged ragged(tokens, offsets, order, group_offsets);
  const int64_t rollouts = offsets.numel() - 1;
  const AgreementPlan plan = agreement_plan(rollouts, longest);
  Tensor scratch = torch::stable::new_empty(tokens, {plan.blocks * plan.scratch_per_block},
                                            ScalarType::Int);
  Tensor out = torch::stable::new_empty(tokens, {rollouts}, ScalarType::Float);
  group_agreement(ragged.view, static_cast<Agreement>(kind), rollouts, longest,
                  data<int32_t>(scratch), data<float>(out), stream_of(tokens));
  return out;
}

}  // namespace
}  // namespace percbal::cuda

STABLE_TORCH_LIBRARY_IMPL(percbal, CUDA, m) {
  m.impl("coupling_stats", TORCH_BOX(&percbal::cuda::coupling_stats_cuda));
  m.impl("group_coupling", TORCH_BOX(&percbal::cuda::group_coupling_cuda));
  m.impl("group_advantage", TORCH_BOX(&percbal::cuda::group_advantage_cuda));
  m.impl("group_agreement", TORCH_BOX(&percbal::cuda::group_agreement_cuda));
}
