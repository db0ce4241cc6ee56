// Launch of the group_agreement kernels; pointers are on the device.
#pragma once
#include "core/agreement/agreement.h"

namespace percbal::cuda {

// longest: tokens of the longest rollout. scratch: plan.blocks * plan.scratch_per_block int32.
// For Agreement::multiset the tokens of every rollout must be sorted.
struct AgreementPlan {
  int blocks;
  int64_t scratch_per_block;  // int32 elements
};
AgreementPlan agreement_plan(int64_t rollouts, int64_t longest);

void group_agreement(const RaggedGroups& in, Agreement kind, int64_t rollouts, int64_t longest,
                     int32_t* scratch, float* out, void* stream);

}  // namespace percbal::cuda
