// The kernels of token log-probability for AVX-512 (F, BW, DQ, VL).
#if defined(__x86_64__)
#define PERCBAL_VECTOR_BYTES 64
#include "core/logprob/token_logprob_level.h"
#endif
