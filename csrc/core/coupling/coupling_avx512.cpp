// coupling_chunk.h for processors with AVX-512.
#if defined(__x86_64__)
#define PERCBAL_ISA avx512
#define PERCBAL_LANES 8
#define PERCBAL_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,popcnt")))
#include "core/coupling/coupling_chunk.h"

namespace percbal::avx512 {

template void add_chunk(const Rollouts<float>&, const CouplingOptions&, int64_t, int64_t, double*);
template void add_chunk(const Rollouts<double>&, const CouplingOptions&, int64_t, int64_t, double*);
template RunCount count_runs(const int64_t*, int64_t, int64_t);
template bool equal_runs(const int64_t*, int64_t, int64_t, int64_t);

}  // namespace percbal::avx512
#endif
