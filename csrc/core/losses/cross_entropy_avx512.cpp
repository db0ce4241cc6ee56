// The cross-entropy kernels for AVX-512 (F, BW, DQ, VL).
#if defined(__x86_64__)
#define PERCBAL_VECTOR_BYTES 64
#include "core/losses/cross_entropy_level.h"
#endif
