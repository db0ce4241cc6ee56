// The cross-entropy kernels for AVX2, FMA and F16C.
#if defined(__x86_64__)
#include <immintrin.h>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/losses/cross_entropy_row.h"
#include "core/simd/float16.h"

// After the standard headers: what they define must stay callable on every processor.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif

#define PERCBAL_LEVEL avx2
#define PERCBAL_VECTOR_BYTES 32
#include "core/simd/simd.h"
// in this order: each builds on the one before
#include "core/simd/simd_memory.h"
#include "core/losses/cross_entropy_rows.h"
#include "core/losses/cross_entropy_general.h"
#include "core/losses/cross_entropy_level.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif  // __x86_64__
