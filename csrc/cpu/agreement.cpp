// CPU kernel of group_agreement; its schema is in percbal_ops/agreement/library.py.
#include "cpu/coupling_columns.h"

namespace percbal {
namespace {

// longest: for kernels that size their memory by it; this one does not need to know.
Tensor group_agreement_cpu(const Tensor& tokens, const Tensor& offsets, const Tensor& order,
                           const Tensor& group_offsets, int64_t kind, int64_t /*longest*/) {
  const Ragged ragged(tokens, offsets, order, group_offsets);
  Tensor out = torch::stable::new_empty(tokens, {offsets.numel() - 1}, ScalarType::Float);
  group_agreement(ragged.view, static_cast<Agreement>(kind), data<float>(out), torch_parallel());
  return out;
}

}  // namespace
}  // namespace percbal

STABLE_TORCH_LIBRARY_IMPL(percbal, CPU, m) {
  m.impl("group_agreement", TORCH_BOX(&percbal::group_agreement_cpu));
}
