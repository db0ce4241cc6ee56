// The kernels of token log-probability for AVX2, FMA and F16C.
#if defined(__x86_64__)
#define PERCBAL_VECTOR_BYTES 32
#include "core/logprob/token_logprob_level.h"
#endif
