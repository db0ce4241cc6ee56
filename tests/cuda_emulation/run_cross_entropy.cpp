#include EMULATED_SOURCE

#include "reported.h"

extern "C" const char* cross_entropy(percbal::cuda::CrossEntropyArgs* args, int64_t cluster_size,
                                     float* loss, float* grad_sq, void* dlogits) {
  emulation::cluster_size = static_cast<int>(cluster_size);
  args->loss = loss, args->grad_sq = grad_sq, args->dlogits = dlogits;
  return percbal::cuda::launch_cross_entropy(*args, nullptr);
}

// Of the last launch.
extern "C" int64_t blocks_in_cluster() { return emulation::blocks.size(); }
