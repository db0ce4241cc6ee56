// CPU kernels of the reward-coupling operators; schemas in percbal_ops/coupling/library.py.
#include "core/coupling/coupling_layout.h"
#include "core/coupling/coupling_summary.h"
#include "cpu/coupling_columns.h"

namespace percbal {
namespace {

void check_group(const Tensor& group) {
  STD_TORCH_CHECK(group.dim() == 1 && group.scalar_type() == ScalarType::Long,
                  "group must be (R,) int64");
  STD_TORCH_CHECK(group.numel() < (int64_t{1} << 31), "group must have fewer than 2^31 rows");
}

std::tuple<Tensor, Tensor, Tensor> group_layout_cpu(const Tensor& group) {
  check_group(group);
  const Tensor ids = torch::stable::contiguous(group);
  const GroupLayout layout =
      group_layout(data<const int64_t>(ids), ids.numel(), torch_parallel());
  return {tensor_of(layout.order, ScalarType::Int, group),
          tensor_of(layout.offsets, ScalarType::Long, group),
          tensor_of(layout.ids, ScalarType::Long, group)};
}

std::tuple<Tensor, Tensor> coupling_stats_cpu(const Tensor& outcome, const Tensor& perception,
                                              const std::optional<Tensor>& reasoning,
                                              const Tensor& order, const Tensor& offsets,
                                              const Tensor& origin_outcome,
                                              const Tensor& origin_target, double eps,
                                              double right_at) {
  const int64_t c = outcome.size(1), t = reasoning ? 2 : 1;
  const Origins origins(c, t, origin_outcome, origin_target);
  Tensor pair = torch::stable::new_empty(outcome, {t, c, kPairFields}, ScalarType::Double);
  Tensor signal = torch::stable::new_empty(outcome, {c, kSignalFields}, ScalarType::Double);
  for_float(outcome, [&]<class T>() {
    const Columns<T> columns(outcome, perception, reasoning, order, offsets);
    coupling_stats(columns.view, origins.options(eps, right_at), data<double>(pair),
                   data<double>(signal), torch_parallel());
  });
  return {pair, signal};
}

std::tuple<Tensor, Tensor> coupling_stats_by_id_cpu(const Tensor& outcome,
                                                    const Tensor& perception,
                                                    const std::optional<Tensor>& reasoning,
                                                    const Tensor& group,
                                                    const Tensor& origin_outcome,
                                                    const Tensor& origin_target, double eps,
                                                    double right_at) {
  check_group(group);
  STD_TORCH_CHECK(group.numel() == outcome.size(0), "group must be (R,), R = ", outcome.size(0));
  const int64_t c = outcome.size(1), t = reasoning ? 2 : 1;
  const Origins origins(c, t, origin_outcome, origin_target);
  const Tensor ids = torch::stable::contiguous(group);
  const Tensor order = torch::stable::new_empty(outcome, {0}, ScalarType::Int);
  const Tensor offsets = torch::stable::new_empty(outcome, {1}, ScalarType::Long);
  Tensor pair = torch::stable::new_empty(outcome, {t, c, kPairFields}, ScalarType::Double);
  Tensor signal = torch::stable::new_empty(outcome, {c, kSignalFields}, ScalarType::Double);
  for_float(outcome, [&]<class T>() {
    const Columns<T> columns(outcome, perception, reasoning, order, offsets);
    coupling_stats_by_id(columns.view, data<const int64_t>(ids), origins.options(eps, right_at),
                         data<double>(pair), data<double>(signal), torch_parallel());
  });
  return {pair, signal};
}

std::tuple<Tensor, Tensor> coupling_summary_cpu(const Tensor& pair_, const Tensor& signal_,
                                                const Tensor& origin_outcome,
                                                const Tensor& origin_target, double confidence) {
  const Tensor pair = torch::stable::contiguous(pair_), signal = torch::stable::contiguous(signal_);
  STD_TORCH_CHECK(pair.dim() == 3 && pair.size(2) == kPairFields &&
                      pair.scalar_type() == ScalarType::Double,
                  "pair must be (K, C, ", int64_t{kPairFields}, ") float64");
  const int64_t t = pair.size(0), c = pair.size(1);
  STD_TORCH_CHECK(signal.dim() == 2 && signal.size(0) == c && signal.size(1) == kSignalFields &&
                      signal.scalar_type() == ScalarType::Double,
                  "signal must be (C, ", int64_t{kSignalFields}, ") float64, C = ", c);
  const Origins origins(c, t, origin_outcome, origin_target);
  Tensor pair_numbers = torch::stable::new_empty(pair, {t, kPairNumbers, c});
  Tensor signal_numbers = torch::stable::new_empty(pair, {kSignalNumbers, c});
  coupling_summary(data<const double>(pair), data<const double>(signal),
                   data<const double>(origins.outcome), data<const double>(origins.target), t, c,
                   confidence, data<double>(pair_numbers), data<double>(signal_numbers));
  return {pair_numbers, signal_numbers};
}

std::tuple<Tensor, Tensor> group_coupling_cpu(const Tensor& outcome, const Tensor& perception,
                                              const std::optional<Tensor>& reasoning,
                                              const Tensor& order, const Tensor& offsets) {
  const int64_t c = outcome.size(1), t = reasoning ? 2 : 1, g = offsets.numel() - 1;
  Tensor correlation = torch::stable::new_empty(outcome, {t, c, g}, ScalarType::Double);
  Tensor count = torch::stable::new_empty(outcome, {t, c, g}, ScalarType::Long);
  for_float(outcome, [&]<class T>() {
    const Columns<T> columns(outcome, perception, reasoning, order, offsets);
    group_coupling(columns.view, data<double>(correlation), data<int64_t>(count),
                   torch_parallel());
  });
  return {correlation, count};
}

std::tuple<Tensor, Tensor> group_advantage_cpu(const Tensor& outcome, const Tensor& order,
                                               const Tensor& offsets, double eps) {
  Tensor scaled = torch::stable::new_empty(outcome, outcome.sizes());
  Tensor centred = torch::stable::new_empty(outcome, outcome.sizes());
  for_float(outcome, [&]<class T>() {
    const Columns<T> columns(outcome, order, offsets);
    group_advantage(columns.view, eps, data<T>(scaled), data<T>(centred), torch_parallel());
  });
  return {scaled, centred};
}

}  // namespace
}  // namespace percbal

STABLE_TORCH_LIBRARY_IMPL(percbal, CPU, m) {
  m.impl("group_layout", TORCH_BOX(&percbal::group_layout_cpu));
  m.impl("coupling_stats", TORCH_BOX(&percbal::coupling_stats_cpu));
  m.impl("coupling_stats_by_id", TORCH_BOX(&percbal::coupling_stats_by_id_cpu));
  m.impl("coupling_summary", TORCH_BOX(&percbal::coupling_summary_cpu));
  m.impl("group_coupling", TORCH_BOX(&percbal::group_coupling_cpu));
  m.impl("group_advantage", TORCH_BOX(&percbal::group_advantage_cpu));
}
