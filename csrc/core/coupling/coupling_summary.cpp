#include "core/coupling/coupling_summary.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "core/coupling/coupling_fields.h"

namespace percbal {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kPi = 3.14159265358979323846;

double ratio(double xx, double xy, double yy) {
  return xx > 0 && yy > 0 ? xy / (std::sqrt(xx) * std::sqrt(yy)) : kNaN;
}

double pearson(double xx, double xy, double yy) {  // (C1)
  return std::clamp(ratio(xx, xy, yy), -1.0, 1.0);
}

// c' M c for the upper triangle of M.
template <int K>
double quadratic(const double (&c)[K], const double* upper) {
  double sum = 0;
  for (int i = 0; i < K; ++i)
    for (int j = i; j < K; ++j) sum += (i == j ? 1 : 2) * c[i] * c[j] * *upper++;
  return std::max(sum, 0.0);
}

double normal_quantile(double tail) {
  double z = 0;
  for (int step = 0; step < 200; ++step) {  // Newton's, from below: the tail is convex
    const double density = std::exp(-z * z / 2) / std::sqrt(2 * kPi);
    const double change = (std::erfc(z / std::sqrt(2.0)) / 2 - tail) / density;
    z += change;
    if (std::fabs(change) <= 1e-14 * z) break;
  }
  return z;
}

// The finite trigonometric sums of Abramowitz and Stegun 26.7.3 and 26.7.4.
double t_cdf(double t, int64_t df) {
  const double theta = std::atan(t / std::sqrt(df)), cos2 = std::cos(theta) * std::cos(theta);
  double term = df % 2 ? std::cos(theta) : 1.0, total = 0;
  for (int64_t k = 2 + df % 2; k <= df; k += 2) {
    total += term;
    term *= cos2 * (k - 1) / k;
  }
  total *= std::sin(theta);
  return 0.5 + (df % 2 ? (theta + total) / kPi : total / 2);
}

class TQuantiles {  // of one tail, remembered: many pairs have as many groups
 public:
  explicit TQuantiles(double tail) : tail_(tail) {}
  double of(int64_t df) {
    const auto [at, fresh] = known_.try_emplace(df);
    if (fresh) at->second = t_quantile(tail_, df);
    return at->second;
  }

 private:
  double tail_;
  std::unordered_map<int64_t, double> known_;
};

class Summary {
 public:
  Summary(const double* sums, double origin_x, double origin_y) : sums_(sums) {
    const double n = sums[kCount], xx = sums[kCount + 3] / n, yy = sums[kCount + 5] / n;
    mean_x_ = sums[kCount + 1] / n;  // about the origin; NaN without rollouts
    mean_y_ = sums[kCount + 2] / n;
    // a variance this far below the second moment is rounding: the column is constant
    vxx_ = xx - mean_x_ * mean_x_ > 1e-12 * xx ? xx - mean_x_ * mean_x_ : 0;
    vyy_ = yy - mean_y_ * mean_y_ > 1e-12 * yy ? yy - mean_y_ * mean_y_ : 0;
    vxy_ = sums[kCount + 4] / n - mean_x_ * mean_y_;
    outcome_mean_ = mean_x_ + origin_x;
    target_mean_ = mean_y_ + origin_y;
    binary_ = sums[kBinary] == n;
  }

  // out[field * stride]
  void write(TQuantiles& t, double* out, int64_t stride) const {
    const double* w = sums_ + kWithin;
    const double right_success = outcome_mean_ * (1 - target_mean_);
    const double r = pearson(vxx_, vxy_, vyy_), within = pearson(w[0], w[1], w[2]);
    const double echo = binary_ ? ratio(vxx_, right_success, vyy_) : kNaN;
    const double echo_within = binary_ ? ratio(w[0], sums_[kEchoWithin], w[2]) : kNaN;
    correlation(r, pooled_variance(r), sums_[kGroups], echo, t, out + kPooled * stride, stride);
    correlation(within, within_variance(within), sums_[kInformative], echo_within, t,
                out + kWithinGroups * stride, stride);
    out[kOutcomeMean * stride] = outcome_mean_;
    out[kTargetMean * stride] = target_mean_;
    // successes with the target wrong: for binary rewards, the mean of x (1 - y)
    out[kWrongSuccess * stride] = binary_ ? (right_success - vxy_) / outcome_mean_ : kNaN;
    out[kEchoRatio * stride] = r / echo;
  }

 private:
  double pooled_variance(double r) const {  // (C4)
    // zx zy - r (zx^2 + zy^2) / 2 as coefficients of (1, x, y, xx, xy, yy)
    const double cxx = -r / (2 * vxx_), cxy = 1 / std::sqrt(vxx_ * vyy_), cyy = -r / (2 * vyy_);
    const double c[] = {
        cxx * mean_x_ * mean_x_ + cxy * mean_x_ * mean_y_ + cyy * mean_y_ * mean_y_,
        -2 * cxx * mean_x_ - cxy * mean_y_,
        -2 * cyy * mean_y_ - cxy * mean_x_,
        cxx,
        cxy,
        cyy};
    return quadratic(c, sums_ + kMoments) / (sums_[kCount] * sums_[kCount]);
  }

  double within_variance(double r) const {  // (C5)
    const double xx = sums_[kWithin], yy = sums_[kWithin + 2];
    const double c[] = {-r / (2 * xx), 1 / std::sqrt(xx * yy), -r / (2 * yy)};
    return quadratic(c, sums_ + kWithinOuter);
  }

  // (C3): Fisher's z with the cluster-robust variance and Student's t on groups - 1.
  void correlation(double r, double variance, double groups, double echo, TQuantiles& t,
                   double* out, int64_t stride) const {
    double low = kNaN, high = kNaN;
    if (groups > 1 && r == r) {
      const double half = t.of(static_cast<int64_t>(groups) - 1) *
                          std::sqrt(variance * groups / (groups - 1)) / (1 - r * r);
      const bool certain = std::fabs(r) == 1;
      low = certain ? r : std::tanh(std::atanh(r) - half);
      high = certain ? r : std::tanh(std::atanh(r) + half);
    }
    const double numbers[] = {r, low, high, sums_[kCount], groups, echo};
    for (int i = 0; i < 6; ++i) out[i * stride] = numbers[i];
  }

  const double* sums_;
  double mean_x_, mean_y_, vxx_, vxy_, vyy_, outcome_mean_, target_mean_;
  bool binary_;
};

// out[field * stride]: (C12) and (C13).
void write_signal(const double* s, double* out, int64_t stride) {
  const double *cells = s + kCells, *centred = s + kMassCentred, *scaled = s + kMassScaled;
  const auto total = [](const double* v) { return v[0] + v[1] + v[2] + v[3]; };
  const double right = s[kKnownRight], wrong = s[kKnown] - right;
  const auto write = [&](SignalNumber number, double value) { out[number * stride] = value; };
  write(kConflictRate, (cells[1] + cells[2]) / total(cells));
  write(kConflictShare, (scaled[1] + scaled[2]) / total(scaled));
  write(kShareRight, (scaled[0] + scaled[1]) / total(scaled));
  write(kShareWrong, (scaled[2] + scaled[3]) / total(scaled));
  write(kShareRightCentred, (centred[0] + centred[1]) / total(centred));
  write(kShareWrongCentred, (centred[2] + centred[3]) / total(centred));
  write(kPraisedWrong, cells[2] / wrong);
  write(kBlamedRight, cells[1] / right);
  write(kSilentShare, s[kSilentGroups] / s[kScoredGroups]);
  write(kScoredRollouts, s[kScored]);
  write(kGroupsScored, s[kScoredGroups]);
}

}  // namespace

double t_quantile(double tail, int64_t df) {
  if (df == 1) return 1 / std::tan(kPi * tail);
  const double a = 1 - 2 * tail;
  if (df == 2) return a * std::sqrt(2 / (1 - a * a));
  const double z = normal_quantile(tail), z3 = z * z * z, n = static_cast<double>(df);
  double t = z + (z3 + z) / (4 * n) + (5 * z3 * z * z + 16 * z3 + 3 * z) / (96 * n * n);
  if (df > 1000) return t;
  const double log_scale = std::lgamma((n + 1) / 2) - std::lgamma(n / 2) - 0.5 * std::log(n * kPi);
  for (int step = 0; step < 100; ++step) {  // Newton's: a few steps, more where the tail is heavy
    const double density = std::exp(log_scale - (n + 1) / 2 * std::log1p(t * t / n));
    const double change = (t_cdf(t, df) - (1 - tail)) / density;
    t -= change;
    if (std::fabs(change) <= 1e-14 * t) break;
  }
  return t;
}

void coupling_summary(const double* pair, const double* signal, const double* origin_outcome,
                      const double* origin_target, int64_t targets, int64_t candidates,
                      double confidence, double* pair_numbers, double* signal_numbers) {
  TQuantiles quantiles((1 - confidence) / 2);
  for (int64_t t = 0; t < targets; ++t)
    for (int64_t c = 0; c < candidates; ++c)
      Summary(pair + (t * candidates + c) * kPairFields, origin_outcome[c], origin_target[t])
          .write(quantiles, pair_numbers + t * kPairNumbers * candidates + c, candidates);
  for (int64_t c = 0; c < candidates; ++c)
    write_signal(signal + c * kSignalFields, signal_numbers + c, candidates);
}

}  // namespace percbal
