// The sufficient statistics of reward coupling and how one group's sums enter them. Shared by the
// CPU and CUDA loops; docs/coupling.md numbers the formulas (C1), (C2), ...
#pragma once
#include <cmath>
#include <cstdint>

#include "core/parallel.h"

namespace percbal {

// One pair (candidate reward x, target y), over the rollouts that have both. All are plain sums over
// groups, so batches and ranks merge by addition (C6). M = moments (n, x, y, xx, xy, yy) of a group
// about a fixed origin; W = its central moments (xx, xy, yy).
enum PairField {
  kCount = 0,              // n, x, y, xx, xy, yy: six fields
  kMoments = 6,            // sum of M M': upper triangle, 21 fields (C4)
  kWithin = 27,            // sum of W: three fields (C2)
  kWithinOuter = 30,       // sum of W W': upper triangle, six fields (C5)
  kGroups = 36,            // groups with at least one rollout
  kInformative = 37,       // groups in which x or y varies
  kEchoWithin = 38,        // sum of x - (sum x)(sum y) / n (C9)
  kNotBinary = 39,         // rollouts in which x or y is neither 0 nor 1
  kWrongSuccess = 40,      // rollouts with x = 1 and y = 0
  kPairFields = 41
};

// What the gradient of one candidate sees, against perception (C10) to (C13). The order of the four
// cells is: right perception and positive advantage, right and negative, wrong and positive, wrong
// and negative.
enum SignalField {
  kScored = 0,         // rollouts with an outcome
  kScoredGroups = 1,   // groups with at least one of them
  kSilentGroups = 2,   // of these, the groups whose advantages are all zero
  kCells = 3,          // rollouts per cell: four fields
  kZeroRight = 7,      // zero advantage, right perception
  kZeroWrong = 8,      // zero advantage, wrong perception
  kMassCentred = 9,    // sum of |advantage| per cell, centred form: four fields
  kMassScaled = 13,    // the same for the z-score: four fields
  kInfinite = 17,      // values that are +-inf, in any column: refused by the caller
  kSignalFields = 18
};

// An advantage this small beside its group's standard deviation is rounding, not a signal.
constexpr double kZeroAdvantage = 1e-6;

struct PairSums {  // of one group, about its first scored values x0, y0: exact zeros when constant
  double n, x, y, xx, xy, yy, x0, y0, not_binary, wrong_success;
};

struct SignalSums {  // of one group
  double n, x, xx;                // scored outcomes about x0
  double cells[4], mass[4];       // advantage split by perception and sign
  double zero_right, zero_wrong, infinite;
};

struct Spread {
  double mean, std;  // of the group's scored outcomes; the mean is about x0, the std unbiased
};

PERCBAL_HD double at_least_zero(double v) { return v > 0 ? v : 0; }

PERCBAL_HD Spread spread(double n, double x, double xx) {
  const double mean = n > 0 ? x / n : 0;
  const double squares = at_least_zero(xx - x * mean);
  return {mean, n > 1 ? sqrt(squares / (n - 1)) : 0};
}

// Adds to acc[field * stride]; straight-line so that a loop over groups vectorises.
PERCBAL_HD void fold_pair(const PairSums& g, double origin_x, double origin_y, double* acc,
                          int64_t stride) {
  const double some = g.n > 0 ? 1 : 0;
  const double inverse = g.n > 0 ? 1 / g.n : 0;
  const double wxx = at_least_zero(g.xx - g.x * g.x * inverse);
  const double wxy = g.xy - g.x * g.y * inverse;
  const double wyy = at_least_zero(g.yy - g.y * g.y * inverse);
  const double ax = g.x0 - origin_x, ay = g.y0 - origin_y;  // move the moments to the origin
  const double m[6] = {g.n,
                       g.x + g.n * ax,
                       g.y + g.n * ay,
                       g.xx + 2 * ax * g.x + g.n * ax * ax,
                       g.xy + ax * g.y + ay * g.x + g.n * ax * ay,
                       g.yy + 2 * ay * g.y + g.n * ay * ay};
  const double w[3] = {wxx, wxy, wyy};
#pragma GCC unroll 6
  for (int i = 0; i < 6; ++i) acc[(kCount + i) * stride] += m[i];
  int f = kMoments;
#pragma GCC unroll 6
  for (int i = 0; i < 6; ++i)
#pragma GCC unroll 6
    for (int j = i; j < 6; ++j) acc[f++ * stride] += m[i] * m[j];
#pragma GCC unroll 3
  for (int i = 0; i < 3; ++i) acc[(kWithin + i) * stride] += w[i];
  f = kWithinOuter;
#pragma GCC unroll 3
  for (int i = 0; i < 3; ++i)
#pragma GCC unroll 3
    for (int j = i; j < 3; ++j) acc[f++ * stride] += w[i] * w[j];
  const double sum_x = g.x + g.n * g.x0, sum_y = g.y + g.n * g.y0;
  acc[kGroups * stride] += some;
  acc[kInformative * stride] += (wxx > 0) | (wyy > 0) ? 1 : 0;
  acc[kEchoWithin * stride] += sum_x - sum_x * sum_y * inverse;
  acc[kNotBinary * stride] += g.not_binary;
  acc[kWrongSuccess * stride] += g.wrong_success;
}

PERCBAL_HD void fold_signal(const SignalSums& g, double eps, double* acc, int64_t stride) {
  const double std = spread(g.n, g.x, g.xx).std;
  const double scale = std > 0 ? 1 / (std + eps) : 0;
  acc[kScored * stride] += g.n;
  acc[kScoredGroups * stride] += g.n > 0 ? 1 : 0;
  acc[kSilentGroups * stride] += (g.n > 0) & (std == 0) ? 1 : 0;
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    acc[(kCells + k) * stride] += g.cells[k];
    acc[(kMassCentred + k) * stride] += g.mass[k];
    acc[(kMassScaled + k) * stride] += g.mass[k] * scale;
  }
  acc[kZeroRight * stride] += g.zero_right;
  acc[kZeroWrong * stride] += g.zero_wrong;
  acc[kInfinite * stride] += g.infinite;
}

}  // namespace percbal
