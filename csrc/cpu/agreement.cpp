// CPU kernel of group_agreement; its schema is in percbal_ops/agreement.py.
#include "core/agreement.h"

#include "cpu/stable_tensor.h"

namespace percbal {
namespace {

Tensor group_agreement_cpu(const Tensor& tokens, const Tensor& offsets, const Tensor& order,
                           const Tensor& group_offsets, int64_t kind) {
  for (const Tensor* t : {&tokens, &offsets, &group_offsets})
    STD_TORCH_CHECK(t->dim() == 1 && t->scalar_type() == ScalarType::Long,
                    "tokens, offsets and group_offsets must be 1-d int64");
  const int64_t rollouts = offsets.numel() - 1;
  STD_TORCH_CHECK(order.scalar_type() == ScalarType::Int &&
                      (order.numel() == 0 || order.numel() == rollouts),
                  "order must be empty or (R,) int32, as group_layout returns it");
  const Tensor t = torch::stable::contiguous(tokens), o = torch::stable::contiguous(offsets);
  const Tensor by_group = torch::stable::contiguous(order);
  const Tensor g = torch::stable::contiguous(group_offsets);
  Tensor out = torch::stable::new_empty(tokens, {rollouts}, ScalarType::Float);
  const RaggedGroups ragged{data<const int64_t>(t), data<const int64_t>(o),
                            by_group.numel() ? data<const int32_t>(by_group) : nullptr,
                            data<const int64_t>(g), g.numel() - 1};
  group_agreement(ragged, static_cast<Agreement>(kind), data<float>(out), torch_parallel());
  return out;
}

}  // namespace
}  // namespace percbal

STABLE_TORCH_LIBRARY_IMPL(percbal, CPU, m) {
  m.impl("group_agreement", TORCH_BOX(&percbal::group_agreement_cpu));
}
