// Columns of nothing but 0, 1 and NaN, a bit or two each.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "core/simd/lanes.h"

namespace percbal {
inline namespace PERCBAL_LEVEL {

constexpr int64_t kWordRows = 64;  // a word holds a group of at most so many rows
static_assert(std::endian::native == std::endian::little, "words are read from any byte on");

template <class Lane>
struct WordsOf {
  using type = uint64_t;
};
template <>
struct WordsOf<Wide> {
  typedef uint64_t type __attribute__((vector_size(8 * kLanes)));
};
template <class Lane>
using Words = typename WordsOf<Lane>::type;  // a word for each lane

// Which elements of two vectors are equal, the first in bit 0.
template <class V>
PERCBAL_HD uint64_t equal_bits(V a, V b) {
  constexpr bool floats = sizeof(a[0]) == sizeof(float);
#if PERCBAL_VECTOR_BYTES >= 32
  if constexpr (floats) return _mm256_movemask_ps((__m256)(a == b));
  else return _mm256_movemask_pd((__m256d)(a == b));
#elif defined(__SSE2__)
  if constexpr (floats) return _mm_movemask_ps((__m128)(a == b));
  else return _mm_movemask_pd((__m128d)(a == b));
#else
  uint64_t out = 0;
  for (size_t i = 0; i < sizeof(a) / sizeof(a[0]); ++i) out |= uint64_t{a[i] == b[i]} << i;
  return out;
#endif
}

// ones[i] = whether values[64 i], values[64 i + 1], ... are 1, in n / 64 + 1 words, and scored[i] whether
// they are numbers; without Missing, all have to be, and `scored` is left alone. False as soon as a value
// is something else.
template <bool Missing, class T>
PERCBAL_HD bool pack_bits(const T* values, int64_t n, uint64_t* ones, uint64_t* scored) {
  // signs are gathered from 256 bits at most
  constexpr int kBytes = PERCBAL_VECTOR_BYTES >= 32 ? 32 : 16;
  typedef T V __attribute__((vector_size(kBytes)));
  constexpr int kWidth = kBytes / sizeof(T);
  T padded[kWordRows];
  for (int64_t begin = 0; begin <= n; begin += kWordRows) {
    const T* from = values + begin;
    if (n - begin < kWordRows) {
      memset(padded, 0, sizeof(padded));
      if (n > begin) memcpy(padded, from, (n - begin) * sizeof(T));
      from = padded;
    }
    uint64_t one = 0, zero = 0, number = Missing ? 0 : ~uint64_t{0};
#pragma GCC unroll 32
    for (int k = 0; k < kWordRows; k += kWidth) {
      V v;
      memcpy(&v, from + k, sizeof(v));
      one |= equal_bits(v, V{} + 1) << k;
      zero |= equal_bits(v, V{}) << k;
      if constexpr (Missing) number |= equal_bits(v, v) << k;
    }
    if ((one | zero) != number) return false;
    ones[begin / kWordRows] = one;
    if constexpr (Missing) scored[begin / kWordRows] = number;
  }
  return true;
}

// Bits begin, begin + 1, ... of `words`: at least 57 of them, and 64 where begin is a multiple of 8.
PERCBAL_HD uint64_t bits_at(const uint64_t* words, uint64_t begin) {
  uint64_t word;
  memcpy(&word, reinterpret_cast<const char*>(words) + begin / 8, sizeof(word));
  return word >> begin % 8;
}
PERCBAL_HD bool fits_bits(uint64_t begin, uint64_t n) {
  return n <= kWordRows - 7 || (n <= kWordRows && begin % 8 == 0);
}
PERCBAL_HD uint64_t low_bits(uint64_t n) { return n < 64 ? (uint64_t{1} << n) - 1 : ~uint64_t{0}; }

}  // namespace PERCBAL_LEVEL
}  // namespace percbal
