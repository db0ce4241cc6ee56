#include EMULATED_SOURCE

#include "reported.h"

using namespace percbal;

extern "C" {
int64_t scratch_size(int64_t rollouts, int64_t longest) {
  const cuda::AgreementPlan plan = cuda::agreement_plan(rollouts, longest);
  return plan.blocks * plan.scratch_per_block;
}
const char* group_agreement(const RaggedGroups& in, int64_t kind, int64_t rollouts,
                            int64_t longest, int32_t* scratch, float* out) {
  return emulation::reported([&] {
    cuda::group_agreement(in, static_cast<Agreement>(kind), rollouts, longest, scratch, out,
                          nullptr);
  });
}
}
