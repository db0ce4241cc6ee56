// The arguments of the coupling and agreement operators as the core's views, checked; on any device.
#pragma once
#include "core/agreement/agreement.h"
#include "core/coupling/coupling_stats.h"
#include "cpu/stable_tensor.h"

namespace percbal {

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
            {data<const T>(perception), data<const T>(reasoning)}, reasoning_ ? 2 : 1,
            order.numel() ? data<const int32_t>(order) : nullptr, data<const int64_t>(offsets),
            rows, offsets.numel() - 1};
  }

  // Without targets, for what reads the outcome alone.
  Columns(const Tensor& outcome_, const Tensor& order_, const Tensor& offsets_)
      : Columns(outcome_, torch::stable::new_empty(outcome_, {outcome_.size(0)}), std::nullopt,
                order_, offsets_) {
    view.targets = 0;
  }
};

struct Origins {
  Tensor outcome, target;

  Origins(int64_t candidates, int64_t targets, const Tensor& outcome_, const Tensor& target_)
      : outcome(torch::stable::contiguous(outcome_)), target(torch::stable::contiguous(target_)) {
    STD_TORCH_CHECK(outcome.scalar_type() == ScalarType::Double &&
                        target.scalar_type() == ScalarType::Double &&
                        outcome.numel() == candidates && target.numel() == targets,
                    "origin must be float64, one value per column");
  }
  CouplingOptions options(double eps, double right_at) const {
    return {data<const double>(outcome), data<const double>(target), eps, right_at};
  }
};

struct Ragged {
  Tensor tokens, offsets, order, group;
  RaggedGroups view;

  Ragged(const Tensor& tokens_, const Tensor& offsets_, const Tensor& order_, const Tensor& group_)
      : tokens(torch::stable::contiguous(tokens_)),
        offsets(torch::stable::contiguous(offsets_)),
        order(torch::stable::contiguous(order_)),
        group(torch::stable::contiguous(group_)) {
    for (const Tensor* t : {&tokens, &offsets, &group})
      STD_TORCH_CHECK(t->dim() == 1 && t->scalar_type() == ScalarType::Long,
                      "tokens, offsets and group_offsets must be 1-d int64");
    STD_TORCH_CHECK(order.scalar_type() == ScalarType::Int &&
                        (order.numel() == 0 || order.numel() == offsets.numel() - 1),
                    "order must be empty or (R,) int32, as group_layout returns it");
    view = {data<const int64_t>(tokens), data<const int64_t>(offsets),
            order.numel() ? data<const int32_t>(order) : nullptr, data<const int64_t>(group),
            group.numel() - 1};
  }
};

}  // namespace percbal
