// The cross-entropy kernels for AVX2, FMA and F16C.
#if defined(__x86_64__)
#define PERCBAL_VECTOR_BYTES 32
#include "core/losses/cross_entropy_level.h"
#endif
