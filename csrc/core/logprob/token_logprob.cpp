// The kernels of every processor, from token_logprob_level.h, and the choice among these and the same
// text compiled by token_logprob_avx2.cpp and token_logprob_avx512.cpp.
#include "core/logprob/token_logprob.h"

#include <cmath>
#include <limits>

#include "core/logprob/token_logprob_level.h"
#include "core/simd/dispatch.h"

namespace percbal {

#if defined(__x86_64__)
namespace avx2 {
TokenLogprobKernels token_logprob_kernels(Dtype dtype);
}
namespace avx512 {
TokenLogprobKernels token_logprob_kernels(Dtype dtype);
}
#endif

TokenLogprobKernels token_logprob_kernels(Dtype dtype, CpuLevel level) {
  return PERCBAL_AT_LEVEL(level, token_logprob_kernels)(dtype);
}

void EntropySums::raise_max(double to, double temperature) {
  if (s1 != 0) {  // NaN too
    const double rise = (to - shift()) / temperature, factor = std::exp(-rise);
    s5 = factor * (s5 + rise * s1);
    s1 *= factor;
  }
  max_logit = to;
}

LogprobRow finish_logprob_row(const EntropySums& sums, double target_logit, double temperature) {
  const double ahead = (target_logit - sums.shift()) / temperature;
  const double log_s1 = std::log(sums.s1);
  double lead = ahead - log_s1;  // d of (M2)
  if (target_logit == std::numeric_limits<double>::infinity()) lead = std::nan("");
  const double small = std::exp(-std::fabs(lead)), softplus = std::log1p(small);
  const double nll = lead > 0 ? softplus : softplus - lead;
  const double one_minus_p = (lead > 0 ? small : 1.0) / (1 + small);
  const double p_target = (lead > 0 ? 1.0 : small) / (1 + small);
  // without other classes one_minus_p is 0, or NaN
  const double ratio = one_minus_p == 0 ? 0.0 : one_minus_p / sums.s1;
  const double rest =
      sums.s1 == 0 ? ahead + nll : log_s1 + (lead > 0 ? lead + softplus : softplus);
  const double depth = sums.s1 == 0 ? 0.0 : sums.s5 / sums.s1;
  const double entropy =
      (p_target == 0 ? 0.0 : p_target * nll) +
      (one_minus_p == 0 ? 0.0 : one_minus_p * (rest + depth));
  const double pull = p_target * one_minus_p * (nll - rest - depth);
  const double at_target = p_target == 0 || one_minus_p == 0 ? 0.0 : pull;
  return {-nll, entropy, {sums.shift(), ratio, one_minus_p, rest - entropy, at_target}};
}

}  // namespace percbal
