#include "core/losses/cross_entropy_row.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace percbal {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

}  // namespace

void RivalSums::raise_peak(double to) {
  const double before = shift();
  peak = to;
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

RowStats with_hit(double peak, double ratio, double miss, double lse, Capped target) {
  // not exp(u_y - L): L is stored rounded, which large logits would show
  const double hit = miss < 0.5 ? 1 - miss : ratio * std::exp(target.value - peak);
  return {peak, ratio, miss, lse, hit};
}

RowGradient row_gradient(const RowStats& stats, const RowOptions& o) {
  const double z = o.z_loss == 0 ? 0.0 : 2 * o.z_loss * stats.lse;
  const double mass = (1 - o.label_smoothing) * o.target_weight + o.share * o.weight_sum + z;
  const double likely = -mass * stats.miss + o.share * (o.weight_sum - o.target_weight) + z;
  const double unlikely =
      mass * stats.hit - (1 - o.label_smoothing + o.share) * o.target_weight;
  return {mass * stats.ratio, o.share, stats.hit > 0.5 ? likely : unlikely};
}

RowResult finish_row(const RivalSums& sums, Capped target, const RowOptions& o) {
  const double peak = sums.shift();
  const double log_rivals = std::log(sums.s1);
  const double lead = target.value - (peak + log_rivals);  // d of (M2)
  const double small = std::exp(-std::fabs(lead)), softplus = std::log1p(small);
  double nll = lead > 0 ? softplus : softplus - lead;
  double miss = (lead > 0 ? small : 1.0) / (1 + small);
  double hit = (lead > 0 ? 1.0 : small) / (1 + small);
  if (target.value == kInfinity) nll = miss = hit = kNaN;
  const double above = log_rivals + (lead > 0 ? lead + softplus : softplus);
  const double lse = lead > 0 ? target.value + nll : peak + above;
  const double rest = sums.s1 > 0 ? above : lse - peak;
  const double ratio = miss == 0 ? 0.0 : miss / sums.s1;  // without rivals miss is 0, or NaN

  double loss = (1 - o.label_smoothing) * o.target_weight * nll;
  if (o.label_smoothing != 0) {
    const double spread =
        sums.gap + rest * (o.weight_sum - o.target_weight) + o.target_weight * nll;
    loss += o.share * spread;
  }
  if (o.z_loss != 0) loss += o.z_loss * lse * lse;

  const RowStats stats{peak, ratio, miss, lse, hit};
  const RowGradient grad = row_gradient(stats, o);
  const double at_target = target.slope * grad.target;
  double square = at_target * at_target + grad.rival * grad.rival * sums.s2;
  if (o.share != 0)
    square += -2 * grad.rival * o.share * sums.s3 + o.share * o.share * sums.s4;
  return {stats, loss, square < 0 ? 0.0 : square};  // NaN stays
}

void copy_bytes(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }

}  // namespace percbal
