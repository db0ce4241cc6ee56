// How the torch-free core runs in parallel without knowing a thread pool: the caller lends one.
#pragma once
#include <cstdint>
#include <functional>

namespace percbal {

// parallel(n, f) calls f(0) ... f(n - 1), in any order and on any threads, and waits for all.
using Parallel = std::function<void(int64_t, const std::function<void(int64_t)>&)>;

}  // namespace percbal

#if defined(__CUDACC__)
#define PERCBAL_HD __host__ __device__ __forceinline__
#else
#define PERCBAL_HD inline __attribute__((always_inline))
#endif

// One binary for all x86-64 machines that still uses wide vectors where the machine has them. The
// loader's choice runs before a sanitizer is ready, so sanitized builds take the plain version.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(PERCBAL_NO_CLONES)
#define PERCBAL_CLONES \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define PERCBAL_CLONES
#endif
