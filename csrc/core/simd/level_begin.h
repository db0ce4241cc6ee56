// From here to level_end.h functions are compiled for PERCBAL_LEVEL (level.h). Included after all
// headers that are not: what those define must stay callable on every processor. Every function in
// between needs the target, inlined or not: the compiler splits vectors that a function's own target
// lacks before it inlines.
#include "core/simd/level.h"

#if !defined(__clang__)
#pragma GCC push_options
#if PERCBAL_TARGET_BYTES == 64
#pragma GCC target("avx2,fma,f16c,popcnt,avx512f,avx512bw,avx512dq,avx512vl")
#elif PERCBAL_TARGET_BYTES == 32
#pragma GCC target("avx2,fma,f16c,popcnt")
#endif
#elif PERCBAL_TARGET_BYTES == 64
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,popcnt,avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)
#elif PERCBAL_TARGET_BYTES == 32
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,popcnt"))), apply_to = function)
#endif
