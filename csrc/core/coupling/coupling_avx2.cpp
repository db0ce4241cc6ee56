// coupling_chunk.h for processors with AVX2.
#if defined(__x86_64__)
#define PERCBAL_ISA avx2
#define PERCBAL_LANES 4
#define PERCBAL_TARGET __attribute__((target("avx2,fma,popcnt")))
#include "core/coupling/coupling_chunk.h"

namespace percbal::avx2 {

template void add_chunk(const Rollouts<float>&, const CouplingOptions&, int64_t, int64_t, double*);
template void add_chunk(const Rollouts<double>&, const CouplingOptions&, int64_t, int64_t, double*);
template RunCount count_runs(const int64_t*, int64_t, int64_t);
template bool equal_runs(const int64_t*, int64_t, int64_t, int64_t);

}  // namespace percbal::avx2
#endif
