// The sufficient statistics of reward coupling and how one group's sums enter them. Shared by the
// CPU and CUDA loops; docs/coupling.md numbers the formulas (C1), (C2), ...
#pragma once
#include <cstdint>

#include "core/simd/lanes.h"

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
  kBinary = 39,            // rollouts in which both x and y are 0 or 1
  kPairFields = 40
};

// What the gradient of one candidate sees, against perception (C10) to (C13). The order of the four
// cells is: right perception and positive advantage, right and negative, wrong and positive, wrong
// and negative.
enum SignalField {
  kScored = 0,         // rollouts with an outcome
  kScoredGroups = 1,   // groups with at least one of them
  kSilentGroups = 2,   // of these, the groups whose advantages are all zero
  kCells = 3,          // rollouts per cell: four fields
  kKnown = 7,          // scored rollouts whose perception is scored too
  kKnownRight = 8,     // of these, with right perception
  kMassCentred = 9,    // sum of |advantage| per cell, centred form: four fields
  kMassScaled = 13,    // the same for the z-score: four fields
  kSignalFields = 17
};

// An advantage this small beside its group's standard deviation is rounding, not a signal.
constexpr double kZeroAdvantage = 1e-6;

inline namespace PERCBAL_LEVEL {

template <class Lane>
struct PairSums {  // of one group, about its first scored values x0, y0: exact zeros when constant
  Lane n, x, y, xx, xy, yy, x0, y0, binary;
  Lane per_n;  // 1 / n, 0 for an empty group
};

template <class Lane>
struct Spread {  // of a group's scored outcomes: the mean about x0, the unbiased standard deviation
  Lane mean, std;
};

template <class Lane>
struct SignalSums {  // of one group
  Lane n;  // scored outcomes
  Spread<Lane> spread;
  Lane cells[4], mass[4];  // advantage split by perception and sign
  Lane known, known_right;
};

template <class Lane>
struct Central {  // sums of squares and products about the group's means: W
  Lane xx, xy, yy;
};

template <class Lane>
PERCBAL_HD Lane inverse(Lane n) {  // 0 for an empty group
  return select(n > 0, 1 / select(n > 0, n, 1.0), 0.0);
}

template <class Lane>
PERCBAL_HD Lane at_least_zero(Lane v) {
  return select(v < 0, Lane{}, v);  // NaN stays: an infinite reward must show
}

template <class Lane>
PERCBAL_HD Spread<Lane> spread(const Lane& n, const Lane& x, const Lane& xx) {
  const Lane mean = x * inverse(n);
  const Lane squares = at_least_zero(xx - x * mean);
  return {mean, root(squares * inverse(n - 1))};
}

template <class Lane>
PERCBAL_HD Central<Lane> central(const PairSums<Lane>& g) {
  return {at_least_zero(g.xx - g.x * g.x * g.per_n), g.xy - g.x * g.y * g.per_n,
          at_least_zero(g.yy - g.y * g.y * g.per_n)};
}

// Adds `count` vectors v, and the upper triangles of v v', times their weights to sums[field * stride]
// and outer[field * stride]: row by row of the triangle, so that the sums stay in registers.
template <int D, class Lane>
PERCBAL_HD void fold_outer(const Lane (*v)[D], const Lane* weight, int count, double* sums,
                           double* outer, int64_t stride) {
  PERCBAL_UNROLL
  for (int i = 0; i < D; ++i) {
    Lane sum{}, row[D]{};
    for (int k = 0; k < count; ++k) {
      const Lane scale = v[k][i] * weight[k];
      sum += scale;
      PERCBAL_UNROLL
      for (int j = i; j < D; ++j) row[j] += scale * v[k][j];
    }
    add_to(sums + i * stride, sum);
    for (int j = i; j < D; ++j, outer += stride) add_to(outer, row[j]);
  }
}

// Adds the sums of count <= Most groups to acc[field * stride], where a Lane of doubles lies. A weight
// says how many groups have these sums.
template <int Most, class Lane>
PERCBAL_HD void fold_pairs(const PairSums<Lane>* groups, const Lane* weight, int count,
                           double origin_x, double origin_y, double* acc, int64_t stride) {
  Lane m[Most][6], w[Most][3];
  Lane some{}, informative{}, echo{}, binary{};
  for (int k = 0; k < count; ++k) {
    const PairSums<Lane>& g = groups[k];
    const Central<Lane> c = central(g);
    const Lane ax = g.x0 - origin_x, ay = g.y0 - origin_y;  // move the moments to the origin
    m[k][0] = g.n;
    m[k][1] = g.x + g.n * ax;
    m[k][2] = g.y + g.n * ay;
    m[k][3] = g.xx + ax * (g.x + m[k][1]);
    m[k][4] = g.xy + ax * m[k][2] + ay * g.x;
    m[k][5] = g.yy + ay * (g.y + m[k][2]);
    w[k][0] = c.xx;
    w[k][1] = c.xy;
    w[k][2] = c.yy;
    const Lane sum_x = g.x + g.n * g.x0, sum_y = g.y + g.n * g.y0;
    some += select(g.n > 0, weight[k], 0.0);
    informative += select((c.xx > 0) | (c.yy > 0), weight[k], 0.0);
    echo += weight[k] * (sum_x - sum_x * sum_y * g.per_n);
    binary += weight[k] * g.binary;
  }
  fold_outer(m, weight, count, acc + kCount * stride, acc + kMoments * stride, stride);
  fold_outer(w, weight, count, acc + kWithin * stride, acc + kWithinOuter * stride, stride);
  add_to(acc + kGroups * stride, some);
  add_to(acc + kInformative * stride, informative);
  add_to(acc + kEchoWithin * stride, echo);
  add_to(acc + kBinary * stride, binary);
}

template <class Lane>
PERCBAL_HD void fold_signals(const SignalSums<Lane>* groups, const Lane* weight, int count,
                             double eps, double* acc, int64_t stride) {
  Lane sums[kSignalFields]{};
  for (int k = 0; k < count; ++k) {
    const SignalSums<Lane>& g = groups[k];
    const Lane std = g.spread.std, w = weight[k], scale = select(std == 0, Lane{}, w / (std + eps));
    sums[kScored] += w * g.n;
    sums[kScoredGroups] += select(g.n > 0, w, 0.0);
    sums[kSilentGroups] += select((g.n > 0) & (std == 0), w, 0.0);
    for (int i = 0; i < 4; ++i) {
      sums[kCells + i] += w * g.cells[i];
      sums[kMassCentred + i] += w * g.mass[i];
      sums[kMassScaled + i] += scale * g.mass[i];
    }
    sums[kKnown] += w * g.known;
    sums[kKnownRight] += w * g.known_right;
  }
  for (int f = 0; f < kSignalFields; ++f) add_to(acc + f * stride, sums[f]);
}

}  // namespace PERCBAL_LEVEL
}  // namespace percbal
