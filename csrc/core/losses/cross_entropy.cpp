#include "core/losses/cross_entropy.h"

namespace percbal {

namespace portable {
CrossEntropyKernels cross_entropy_kernels(Dtype dtype);
}
namespace avx2 {
CrossEntropyKernels cross_entropy_kernels(Dtype dtype);
}
namespace avx512 {
CrossEntropyKernels cross_entropy_kernels(Dtype dtype);
}

CrossEntropyKernels cross_entropy_kernels(Dtype dtype, CpuLevel level) {
#if defined(__x86_64__)
  if (level == CpuLevel::avx512) return avx512::cross_entropy_kernels(dtype);
  if (level == CpuLevel::avx2) return avx2::cross_entropy_kernels(dtype);
#endif
  return portable::cross_entropy_kernels(dtype);
}

}  // namespace percbal
