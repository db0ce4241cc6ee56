#include "core/simd/dispatch.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace percbal {
namespace {

CpuLevel best_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  // f16c is read by hand: not every compiler's __builtin_cpu_supports knows the name
  const bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & (1u << 29));
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("popcnt") && f16c;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx2) return avx512 ? CpuLevel::avx512 : CpuLevel::avx2;
#endif
  return CpuLevel::portable;
}

CpuLevel chosen_level() {
  const CpuLevel best = best_level();
  const char* wish = std::getenv("PERCBAL_CPU");
  if (wish == nullptr || *wish == '\0') return best;
  const char* names[] = {"portable", "avx2", "avx512"};
  for (int level = 0; level < 3; ++level) {
    if (std::string(wish) != names[level]) continue;
    if (level <= static_cast<int>(best)) return static_cast<CpuLevel>(level);
    throw std::runtime_error(std::string("PERCBAL_CPU=") + wish + ", but this processor has only " +
                             names[static_cast<int>(best)]);
  }
  throw std::runtime_error(std::string("PERCBAL_CPU must be portable, avx2 or avx512, got ") +
                           wish);
}

}  // namespace

CpuLevel cpu_level() {
  static const CpuLevel level = chosen_level();
  return level;
}

}  // namespace percbal
