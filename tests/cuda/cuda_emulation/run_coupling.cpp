#include EMULATED_SOURCE

#include "reported.h"

using namespace percbal;
template <class T>
using In = const Rollouts<T>&;
using Options = const CouplingOptions&;
static_assert(sizeof(Rollouts<float>) == 10 * 8, "test_cuda_emulated_coupling.py lays it out");

#define FUNCTIONS(T)                                                                            \
  const char* coupling_stats_##T(In<T> in, Options options, double* scratch, double* pair,      \
                                 double* signal) {                                              \
    return emulation::reported(                                                                 \
        [&] { cuda::coupling_stats(in, options, scratch, pair, signal, nullptr); });            \
  }                                                                                             \
  const char* group_coupling_##T(In<T> in, double* correlation, int64_t* count) {               \
    return emulation::reported([&] { cuda::group_coupling(in, correlation, count, nullptr); }); \
  }                                                                                             \
  const char* group_advantage_##T(In<T> in, double eps, T* scaled, T* centred) {                \
    return emulation::reported(                                                                 \
        [&] { cuda::group_advantage(in, eps, scaled, centred, nullptr); });                     \
  }

extern "C" {
FUNCTIONS(float)
FUNCTIONS(double)
int64_t coupling_blocks(int64_t groups) { return cuda::coupling_blocks(groups); }
}
