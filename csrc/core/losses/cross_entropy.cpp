// The kernels of every processor, from cross_entropy_level.h, and the choice among these and the same
// text compiled by cross_entropy_avx2.cpp and cross_entropy_avx512.cpp.
#include "core/losses/cross_entropy.h"
#include "core/losses/cross_entropy_level.h"
#include "core/simd/dispatch.h"

namespace percbal {

#if defined(__x86_64__)
namespace avx2 {
CrossEntropyKernels cross_entropy_kernels(Dtype dtype);
}
namespace avx512 {
CrossEntropyKernels cross_entropy_kernels(Dtype dtype);
}
#endif

CrossEntropyKernels cross_entropy_kernels(Dtype dtype, CpuLevel level) {
  return PERCBAL_AT_LEVEL(level, cross_entropy_kernels)(dtype);
}

}  // namespace percbal
