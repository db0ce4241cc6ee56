// Which instruction set the vectorised CPU kernels use, decided once per process.
#pragma once

namespace percbal {

enum class CpuLevel { portable, avx2, avx512 };

// The best level this processor has, or the one named by the environment variable PERCBAL_CPU
// (portable, avx2, avx512). Throws std::runtime_error if that one is unknown or not supported here.
CpuLevel cpu_level();

}  // namespace percbal
