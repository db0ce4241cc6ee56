#include "core/losses/cross_entropy_row.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace percbal {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

}  // namespace

void NontargetSums::raise_max(double to) {
  const double before = shift();
  max_logit = to;
  if (s1 != 0) {  // NaN too
    const double factor = std::exp(before - to);
    s1 *= factor;
    s2 *= factor * factor;
    s3 *= factor;
  }
  if (gap_weight != 0) gap += gap_weight * (to - before);
}

Capped capped(double logit, double softcap) {
  if (softcap == 0) return {logit, 1.0};
  const double cosh = std::cosh(logit / softcap);
  return {softcap * std::tanh(logit / softcap), 1 / (cosh * cosh)};
}

RowStats with_p_target(double max_logit, double ratio, double one_minus_p, double lse,
                       Capped target) {
  // not exp(u_y - L): L is stored rounded, which large logits would show
  const double p_target =
      one_minus_p < 0.5 ? 1 - one_minus_p : ratio * std::exp(target.value - max_logit);
  return {max_logit, ratio, one_minus_p, lse, p_target};
}

RowGradient row_gradient(const RowStats& stats, const RowOptions& o) {
  const double z = o.z_loss == 0 ? 0.0 : 2 * o.z_loss * stats.lse;
  const double mass = (1 - o.label_smoothing) * o.target_weight + o.share * o.weight_sum + z;
  const double likely = -mass * stats.one_minus_p + o.share * (o.weight_sum - o.target_weight) + z;
  const double unlikely =
      mass * stats.p_target - (1 - o.label_smoothing + o.share) * o.target_weight;
  return {mass * stats.ratio, o.share, stats.p_target > 0.5 ? likely : unlikely};
}

RowResult finish_row(const NontargetSums& sums, Capped target, const RowOptions& o) {
  const double max_logit = sums.shift();
  const double log_s1 = std::log(sums.s1);
  const double lead = target.value - (max_logit + log_s1);  // d of (M2)
  const double small = std::exp(-std::fabs(lead)), softplus = std::log1p(small);
  double nll = lead > 0 ? softplus : softplus - lead;
  double one_minus_p = (lead > 0 ? small : 1.0) / (1 + small);
  double p_target = (lead > 0 ? 1.0 : small) / (1 + small);
  if (target.value == kInfinity) nll = one_minus_p = p_target = kNaN;
  const double above = log_s1 + (lead > 0 ? lead + softplus : softplus);
  const double lse = lead > 0 ? target.value + nll : max_logit + above;
  const double rest = sums.s1 > 0 ? above : lse - max_logit;
  // without other classes one_minus_p is 0, or NaN
  const double ratio = one_minus_p == 0 ? 0.0 : one_minus_p / sums.s1;

  double loss = (1 - o.label_smoothing) * o.target_weight * nll;
  if (o.label_smoothing != 0) {
    const double spread =
        sums.gap + rest * (o.weight_sum - o.target_weight) + o.target_weight * nll;
    loss += o.share * spread;
  }
  if (o.z_loss != 0) loss += o.z_loss * lse * lse;

  const RowStats stats{max_logit, ratio, one_minus_p, lse, p_target};
  const RowGradient grad = row_gradient(stats, o);
  const double at_target = target.slope * grad.target;
  double square = at_target * at_target + grad.nontarget * grad.nontarget * sums.s2;
  if (o.share != 0)
    square += -2 * grad.nontarget * o.share * sums.s3 + o.share * o.share * sums.s4;
  return {stats, loss, square < 0 ? 0.0 : square};  // NaN stays
}

void copy_bytes(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }

}  // namespace percbal
