// Which instruction set the vectorised CPU kernels use, decided once per process.
#pragma once

namespace percbal {

enum class CpuLevel { portable, avx2, avx512 };

// The best level this processor has, or the one named by the environment variable PERCBAL_CPU
// (portable, avx2, avx512). Throws std::runtime_error if that one is unknown or not supported here.
CpuLevel cpu_level();

// The copy of a function that was compiled for a level: portable::f, avx2::f or avx512::f.
#if defined(__x86_64__)
#define PERCBAL_AT_LEVEL(level, function)                 \
  ((level) == CpuLevel::avx512 ? &avx512::function        \
   : (level) == CpuLevel::avx2 ? &avx2::function          \
                               : &portable::function)
#else
#define PERCBAL_AT_LEVEL(level, function) (&portable::function)
#endif

}  // namespace percbal
