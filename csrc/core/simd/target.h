// Attributes of functions that are compiled once per instruction set. A source that wants another
// set than the compiler's default defines PERCBAL_TARGET and PERCBAL_ISA before its includes; the
// inline namespace keeps the copies apart. Every function needs the attribute, inlined or not: the
// compiler splits vectors that a function's own target lacks before it inlines.
#pragma once

#if !defined(PERCBAL_ISA)
#define PERCBAL_ISA baseline
#define PERCBAL_TARGET
#endif

#if defined(__CUDACC__)
#define PERCBAL_HD __host__ __device__ __forceinline__
#define PERCBAL_UNROLL _Pragma("unroll")
#else
#define PERCBAL_HD PERCBAL_TARGET inline __attribute__((always_inline))
#define PERCBAL_UNROLL _Pragma("GCC unroll 8")
#endif
