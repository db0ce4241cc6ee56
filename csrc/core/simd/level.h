// A text that is compiled once per instruction set lies in the namespace percbal::PERCBAL_LEVEL and
// between level_begin.h and level_end.h. A source that wants another set than every processor's has
// defines, before its includes, how many bytes a vector has: 32 for AVX2, 64 for AVX-512.
// dispatch.h chooses among the copies at run time. Two headers make vectors of that size:
// vectors.h for the losses, floats and doubles with the elementary functions, in the target's
// intrinsics; lanes.h for coupling, doubles with masks, in text that a GPU thread shares.
#pragma once

#if !defined(PERCBAL_VECTOR_BYTES)
#define PERCBAL_VECTOR_BYTES 16  // of SSE2 and NEON
#endif

#if !defined(PERCBAL_LEVEL)  // a test may want its own
#define PERCBAL_TARGET_BYTES PERCBAL_VECTOR_BYTES
#if PERCBAL_VECTOR_BYTES == 64
#define PERCBAL_LEVEL avx512
#elif PERCBAL_VECTOR_BYTES == 32
#define PERCBAL_LEVEL avx2
#else
#define PERCBAL_LEVEL portable
#endif
#endif

#define PERCBAL_INLINE inline __attribute__((always_inline))
#define PERCBAL_LAMBDA __attribute__((always_inline))
#if defined(__CUDACC__)
#define PERCBAL_HD __host__ __device__ __forceinline__
#define PERCBAL_UNROLL _Pragma("unroll")
#else
#define PERCBAL_HD PERCBAL_INLINE
#define PERCBAL_UNROLL _Pragma("GCC unroll 8")
#endif
