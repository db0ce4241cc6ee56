// Eight doubles as one value, through the vector extension of GCC and Clang: the same source makes
// AVX-512, AVX2, SSE2 or NEON code. The arithmetic below is written once for Lane = double (a GPU
// thread, or one long group) and Lane = Eight.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/target.h"

namespace percbal {
inline namespace PERCBAL_ISA {

PERCBAL_HD double select(bool mask, double yes, double no) { return mask ? yes : no; }
PERCBAL_HD bool negate(bool mask) { return !mask; }
PERCBAL_HD double root(double v) { return sqrt(v); }

#if !defined(__CUDACC__)

// every function that takes one is inlined: no calling convention is involved
#pragma GCC diagnostic ignored "-Wpsabi"
typedef double Eight __attribute__((vector_size(64)));
typedef int64_t EightMask __attribute__((vector_size(64)));

PERCBAL_HD Eight select(EightMask mask, Eight yes, Eight no) { return mask ? yes : no; }
PERCBAL_HD Eight select(EightMask mask, double yes, double no) {
  return mask ? Eight{} + yes : Eight{} + no;
}
PERCBAL_HD Eight select(EightMask mask, Eight yes, double no) { return mask ? yes : Eight{} + no; }
PERCBAL_HD EightMask negate(EightMask mask) { return ~mask; }
PERCBAL_HD Eight root(Eight v) {
  for (int l = 0; l < 8; ++l) v[l] = std::sqrt(v[l]);
  return v;
}

PERCBAL_HD double sum_lanes(double v) { return v; }
PERCBAL_HD double sum_lanes(Eight v) {
  return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}

// out[i * 8 + l] = source(l)[i] for an 8 x 8 block: three rounds of pairwise exchange.
template <class Source>
PERCBAL_HD void transpose(const Source& source, double* out) {
  Eight a[8], b[8];
#pragma GCC unroll 8  // as loops, the blocks would go through memory
  for (int l = 0; l < 8; ++l)
    for (int i = 0; i < 8; ++i) a[l][i] = source(l)[i];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    b[2 * i] = __builtin_shufflevector(a[i], a[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
    b[2 * i + 1] = __builtin_shufflevector(a[i], a[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    a[2 * i] = __builtin_shufflevector(b[i], b[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
    a[2 * i + 1] = __builtin_shufflevector(b[i], b[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    b[2 * i] = __builtin_shufflevector(a[i], a[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
    b[2 * i + 1] = __builtin_shufflevector(a[i], a[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
  }
  memcpy(out, b, sizeof(b));
}

#endif

template <class Lane>
PERCBAL_HD Lane load(const double* from) {
  Lane out;
  memcpy(&out, from, sizeof(out));
  return out;
}

template <class Lane>
PERCBAL_HD void add_to(double* to, Lane value) {
  const Lane sum = load<Lane>(to) + value;
  memcpy(to, &sum, sizeof(sum));
}

}  // namespace PERCBAL_ISA
}  // namespace percbal
