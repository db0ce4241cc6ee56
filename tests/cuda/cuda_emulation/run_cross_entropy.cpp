#include EMULATED_SOURCE

#include "reported.h"

extern "C" const char* cross_entropy(percbal::cuda::CrossEntropyArgs* args, int64_t cluster_size,
                                     float* loss, float* grad_sq, void* dlogits) {
  emulation::cluster_size = static_cast<int>(cluster_size);
  args->loss = loss, args->grad_sq = grad_sq, args->dlogits = dlogits;
  return percbal::cuda::launch_cross_entropy(*args, nullptr);
}

// The gradient of contiguous logits takes their place.
extern "C" const char* cross_entropy_in_place(const percbal::cuda::CrossEntropyArgs* given,
                                              int64_t cluster_size, float* loss, float* grad_sq,
                                              void* dlogits) {
  percbal::cuda::CrossEntropyArgs args = *given;
  const size_t size = args.dtype == percbal::cuda::Dtype::f32 ? 4 : 2;
  std::memcpy(dlogits, args.logits, args.rows * args.classes * size);
  args.logits = dlogits;
  return cross_entropy(&args, cluster_size, loss, grad_sq, dlogits);
}

// Of the last launch.
extern "C" int64_t blocks_in_cluster() { return emulation::blocks.size(); }
