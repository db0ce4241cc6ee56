// What the test calls; EMULATED_SOURCE is csrc/cuda/cross_entropy.cu with its shared variables put
// into the arena.
#include EMULATED_SOURCE

extern "C" const char* emulate(const percbal::cuda::CrossEntropyArgs* args, int cluster_size) {
  emulation::cluster_size = cluster_size;
  return percbal::cuda::launch_cross_entropy(*args, nullptr);
}
