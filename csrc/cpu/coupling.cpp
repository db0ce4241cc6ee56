// CPU kernels of the reward-coupling operators; schemas in percbal_ops/coupling.py.
#include "core/coupling_layout.h"
#include "core/coupling_stats.h"
#include "cpu/stable_tensor.h"

namespace percbal {
namespace {

std::tuple<Tensor, Tensor, Tensor> group_layout_cpu(const Tensor& group) {
  STD_TORCH_CHECK(group.dim() == 1 && group.scalar_type() == ScalarType::Long,
                  "group must be (R,) int64");
  STD_TORCH_CHECK(group.numel() < (int64_t{1} << 31), "group must have fewer than 2^31 rows");
  const Tensor ids = torch::stable::contiguous(group);
  const GroupLayout layout =
      group_layout(data<const int64_t>(ids), ids.numel(), torch_parallel());
  return {tensor_of(layout.order, ScalarType::Int, group),
          tensor_of(layout.offsets, ScalarType::Long, group),
          tensor_of(layout.ids, ScalarType::Long, group)};
}

// The tensors of one call, made contiguous; `view` points into them.
template <class T>
struct Columns {
  Tensor outcome, perception, reasoning, order, offsets;
  Rollouts<T> view;

  Columns(const Tensor& outcome_, const Tensor& perception_,
          const std::optional<Tensor>& reasoning_, const Tensor& order_, const Tensor& offsets_)
      : outcome(torch::stable::contiguous(outcome_)),
        perception(torch::stable::contiguous(perception_)),
        reasoning(torch::stable::contiguous(reasoning_.value_or(perception_))),
        order(torch::stable::contiguous(order_)),
        offsets(torch::stable::contiguous(offsets_)) {
    const int64_t rows = outcome.size(0);
    STD_TORCH_CHECK(outcome.dim() == 2, "outcome must be (R, C), got ", outcome.dim(), " dims");
    for (const Tensor* column : {&perception, &reasoning})
      STD_TORCH_CHECK(column->dim() == 1 && column->numel() == rows &&
                          column->scalar_type() == outcome.scalar_type(),
                      "perception and reasoning must be (R,) of the dtype of outcome, R = ", rows);
    STD_TORCH_CHECK(order.scalar_type() == ScalarType::Int &&
                        (order.numel() == 0 || order.numel() == rows),
                    "order must be empty or (R,) int32, as group_layout returns it");
    STD_TORCH_CHECK(offsets.scalar_type() == ScalarType::Long && offsets.numel() >= 1,
                    "offsets must be (G + 1,) int64, as group_layout returns it");
    view = {data<const T>(outcome), outcome.size(1),
            {data<const T>(perception), reasoning_ ? data<const T>(reasoning) : nullptr},
            order.numel() ? data<const int32_t>(order) : nullptr, data<const int64_t>(offsets),
            rows, offsets.numel() - 1};
  }
};

std::tuple<Tensor, Tensor> coupling_stats_cpu(const Tensor& outcome, const Tensor& perception,
                                              const std::optional<Tensor>& reasoning,
                                              const Tensor& order, const Tensor& offsets,
                                              const Tensor& origin_outcome,
                                              const Tensor& origin_target, double eps,
                                              double right_at) {
  const int64_t c = outcome.size(1), t = reasoning ? 2 : 1;
  STD_TORCH_CHECK(origin_outcome.scalar_type() == ScalarType::Double &&
                      origin_target.scalar_type() == ScalarType::Double &&
                      origin_outcome.numel() == c && origin_target.numel() == t,
                  "origin must be float64, one value per column");
  Tensor pair = torch::stable::new_empty(outcome, {t, c, kPairFields}, ScalarType::Double);
  Tensor signal = torch::stable::new_empty(outcome, {c, kSignalFields}, ScalarType::Double);
  const Tensor ox = torch::stable::contiguous(origin_outcome);
  const Tensor oy = torch::stable::contiguous(origin_target);
  const CouplingOptions options{data<const double>(ox), data<const double>(oy), eps, right_at};
  for_float(outcome, [&]<class T>() {
    const Columns<T> columns(outcome, perception, reasoning, order, offsets);
    coupling_stats(columns.view, options, data<double>(pair), data<double>(signal),
                   torch_parallel());
  });
  return {pair, signal};
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
    const Tensor any_column = torch::stable::new_empty(outcome, {outcome.size(0)});
    const Columns<T> columns(outcome, any_column, std::nullopt, order, offsets);
    Rollouts<T> view = columns.view;
    view.target[0] = nullptr;
    group_advantage(view, eps, data<T>(scaled), data<T>(centred), torch_parallel());
  });
  return {scaled, centred};
}

}  // namespace
}  // namespace percbal

STABLE_TORCH_LIBRARY_IMPL(percbal, CPU, m) {
  m.impl("group_layout", TORCH_BOX(&percbal::group_layout_cpu));
  m.impl("coupling_stats", TORCH_BOX(&percbal::coupling_stats_cpu));
  m.impl("group_coupling", TORCH_BOX(&percbal::group_coupling_cpu));
  m.impl("group_advantage", TORCH_BOX(&percbal::group_advantage_cpu));
}
