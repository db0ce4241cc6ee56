// coupling_chunk.h for processors with AVX2.
#if defined(__x86_64__)
#define PERCBAL_VECTOR_BYTES 32
#include "core/coupling/coupling_chunk.h"

namespace percbal::avx2 {

template void add_chunk(const Rollouts<float>&, const CouplingOptions&, int64_t, int64_t, double*);
template void add_chunk(const Rollouts<double>&, const CouplingOptions&, int64_t, int64_t, double*);
template RunCount count_runs(const int64_t*, int64_t, int64_t);
template bool equal_runs(const int64_t*, int64_t, int64_t, int64_t);

}  // namespace percbal::avx2
#endif
