// A vector of doubles as one value, through the vector extension of GCC and Clang, as wide as the
// instruction set's registers: a wider one would be split, and its comparisons done lane by lane. The
// arithmetic is written once for Lane = double (a GPU thread, or one group by itself) and Lane = Wide.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/simd/level.h"

namespace percbal {
inline namespace PERCBAL_LEVEL {

PERCBAL_HD double select(bool mask, double yes, double no) { return mask ? yes : no; }
PERCBAL_HD double root(double v) { return sqrt(v); }
PERCBAL_HD double sum_lanes(double v) { return v; }

#if !defined(__CUDACC__)

constexpr int kLanes = PERCBAL_VECTOR_BYTES / 8;
// every function that takes one is inlined: no calling convention is involved
#pragma GCC diagnostic ignored "-Wpsabi"
typedef double Wide __attribute__((vector_size(8 * kLanes)));
typedef int64_t WideMask __attribute__((vector_size(8 * kLanes)));

PERCBAL_HD Wide select(WideMask mask, Wide yes, Wide no) { return mask ? yes : no; }
PERCBAL_HD Wide select(WideMask mask, double yes, double no) {
  return mask ? Wide{} + yes : Wide{} + no;
}
PERCBAL_HD Wide select(WideMask mask, Wide yes, double no) { return mask ? yes : Wide{} + no; }
PERCBAL_HD Wide root(Wide v) {
  for (int l = 0; l < kLanes; ++l) v[l] = std::sqrt(v[l]);
  return v;
}
PERCBAL_HD double sum_lanes(Wide v) {
  double sum = 0;
  for (int l = 0; l < kLanes; ++l) sum += v[l];
  return sum;
}

// out[i * kLanes + l] = source(l)[i] for a square block of floats or doubles, by rounds of exchange.
template <class Source>
PERCBAL_HD void transpose(const Source& source, double* out) {
  typedef std::remove_cvref_t<decltype(*source(0))> T;
  typedef T V __attribute__((vector_size(sizeof(T) * kLanes)));
  V a[kLanes], b[kLanes];
#pragma GCC unroll 8  // as loops, the blocks would go through memory
  for (int l = 0; l < kLanes; ++l) memcpy(&a[l], source(l), sizeof(V));
#if PERCBAL_VECTOR_BYTES == 64  // the first two rounds stay within 128 bits where the values are floats
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 2) {
    b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 2) {
    const int from = i / 4 * 4 + i / 2 % 2;
    a[i] = __builtin_shufflevector(b[from], b[from + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    a[i + 1] = __builtin_shufflevector(b[from], b[from + 2], 2, 3, 10, 11, 6, 7, 14, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 4; ++i) {
    b[i] = __builtin_shufflevector(a[i], a[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    b[i + 4] = __builtin_shufflevector(a[i], a[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
  V(&last)[8] = b;
#elif PERCBAL_VECTOR_BYTES == 32
#pragma GCC unroll 8
  for (int i = 0; i < 4; i += 2) {
    b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 4, 1, 5);
    b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 2, 6, 3, 7);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 2; ++i) {
    a[2 * i] = __builtin_shufflevector(b[i], b[i + 2], 0, 1, 4, 5);
    a[2 * i + 1] = __builtin_shufflevector(b[i], b[i + 2], 2, 3, 6, 7);
  }
  V(&last)[4] = a;
#else
  b[0] = __builtin_shufflevector(a[0], a[1], 0, 2);
  b[1] = __builtin_shufflevector(a[0], a[1], 1, 3);
  V(&last)[2] = b;
#endif
#pragma GCC unroll 8
  for (int i = 0; i < kLanes; ++i) {
    const Wide row = __builtin_convertvector(last[i], Wide);
    memcpy(out + kLanes * i, &row, sizeof(row));
  }
}

#endif

template <class Lane>
PERCBAL_HD Lane load(const double* from) {
  Lane out;
  memcpy(&out, from, sizeof(out));
  return out;
}

template <class Lane>
PERCBAL_HD void add_to(double* to, const Lane& value) {
  const Lane sum = load<Lane>(to) + value;
  memcpy(to, &sum, sizeof(sum));
}

}  // namespace PERCBAL_LEVEL
}  // namespace percbal
