// Declarations of what coupling_avx2.cpp and coupling_avx512.cpp define of coupling_chunk.h.
#pragma once
#include "core/coupling/coupling_stats.h"
#include "core/simd/dispatch.h"

namespace percbal {

struct RunCount;

#if defined(__x86_64__)
#define PERCBAL_DECLARE_LEVEL(level)                                                              \
  namespace level {                                                                               \
  template <class T>                                                                              \
  void add_chunk(const Rollouts<T>&, const CouplingOptions&, int64_t, int64_t, double*);          \
  extern template void add_chunk(const Rollouts<float>&, const CouplingOptions&, int64_t,         \
                                 int64_t, double*);                                               \
  extern template void add_chunk(const Rollouts<double>&, const CouplingOptions&, int64_t,        \
                                 int64_t, double*);                                               \
  template <class Id>                                                                             \
  RunCount count_runs(const Id*, int64_t, int64_t);                                               \
  extern template RunCount count_runs(const int64_t*, int64_t, int64_t);                          \
  template <class Id>                                                                             \
  bool equal_runs(const Id*, int64_t, int64_t, int64_t);                                          \
  extern template bool equal_runs(const int64_t*, int64_t, int64_t, int64_t);                     \
  }
PERCBAL_DECLARE_LEVEL(avx2)
PERCBAL_DECLARE_LEVEL(avx512)
#undef PERCBAL_DECLARE_LEVEL
#endif

}  // namespace percbal
