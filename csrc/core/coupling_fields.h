// The sufficient statistics of reward coupling and how one group's sums enter them. Shared by the
// CPU and CUDA loops; docs/coupling.md numbers the formulas (C1), (C2), ...
#pragma once
#include <cstdint>

#include "core/lanes.h"

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

inline namespace PERCBAL_ISA {

template <class Lane>
struct PairSums {  // of one group, about its first scored values x0, y0: exact zeros when constant
  Lane n, x, y, xx, xy, yy, x0, y0, binary;
};

template <class Lane>
struct SignalSums {  // of one group
  Lane n, x, xx;           // scored outcomes about x0
  Lane cells[4], mass[4];  // advantage split by perception and sign
  Lane known, known_right;
};

template <class Lane>
struct Spread {
  Lane mean, std;  // of the group's scored outcomes; the mean is about x0, the std unbiased
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
  return select(v > 0, v, 0.0);
}

template <class Lane>
PERCBAL_HD Spread<Lane> spread(const Lane& n, const Lane& x, const Lane& xx) {
  const Lane mean = x * inverse(n);
  const Lane squares = at_least_zero(xx - x * mean);
  return {mean, root(squares * inverse(n - 1))};
}

template <class Lane>
PERCBAL_HD Central<Lane> central(const PairSums<Lane>& g) {
  const Lane scale = inverse(g.n);
  return {at_least_zero(g.xx - g.x * g.x * scale), g.xy - g.x * g.y * scale,
          at_least_zero(g.yy - g.y * g.y * scale)};
}

// Adds to acc[field * stride], where a Lane of doubles lies.
template <class Lane>
PERCBAL_HD void fold_pair(const PairSums<Lane>& g, double origin_x, double origin_y, double* acc,
                          int64_t stride) {
  const Central<Lane> c = central(g);
  const Lane ax = g.x0 - origin_x, ay = g.y0 - origin_y;  // move the moments to the origin
  const Lane m[6] = {g.n,
                     g.x + g.n * ax,
                     g.y + g.n * ay,
                     g.xx + 2 * ax * g.x + g.n * ax * ax,
                     g.xy + ax * g.y + ay * g.x + g.n * ax * ay,
                     g.yy + 2 * ay * g.y + g.n * ay * ay};
  const Lane w[3] = {c.xx, c.xy, c.yy};
  for (int i = 0; i < 6; ++i) add_to<Lane>(acc + (kCount + i) * stride, m[i]);
  int f = kMoments;
  for (int i = 0; i < 6; ++i)
    for (int j = i; j < 6; ++j) add_to<Lane>(acc + f++ * stride, m[i] * m[j]);
  for (int i = 0; i < 3; ++i) add_to<Lane>(acc + (kWithin + i) * stride, w[i]);
  f = kWithinOuter;
  for (int i = 0; i < 3; ++i)
    for (int j = i; j < 3; ++j) add_to<Lane>(acc + f++ * stride, w[i] * w[j]);
  const Lane sum_x = g.x + g.n * g.x0, sum_y = g.y + g.n * g.y0;
  add_to<Lane>(acc + kGroups * stride, select(g.n > 0, 1.0, 0.0));
  add_to<Lane>(acc + kInformative * stride, select((c.xx > 0) | (c.yy > 0), 1.0, 0.0));
  add_to<Lane>(acc + kEchoWithin * stride, sum_x - sum_x * sum_y * inverse(g.n));
  add_to<Lane>(acc + kBinary * stride, g.binary);
}

template <class Lane>
PERCBAL_HD void fold_signal(const SignalSums<Lane>& g, double eps, double* acc, int64_t stride) {
  const Lane std = spread(g.n, g.x, g.xx).std;
  const Lane scale = select(std > 0, 1 / (std + eps), 0.0);
  add_to<Lane>(acc + kScored * stride, g.n);
  add_to<Lane>(acc + kScoredGroups * stride, select(g.n > 0, 1.0, 0.0));
  add_to<Lane>(acc + kSilentGroups * stride, select((g.n > 0) & (std == 0), 1.0, 0.0));
  for (int k = 0; k < 4; ++k) {
    add_to<Lane>(acc + (kCells + k) * stride, g.cells[k]);
    add_to<Lane>(acc + (kMassCentred + k) * stride, g.mass[k]);
    add_to<Lane>(acc + (kMassScaled + k) * stride, g.mass[k] * scale);
  }
  add_to<Lane>(acc + kKnown * stride, g.known);
  add_to<Lane>(acc + kKnownRight * stride, g.known_right);
}

}  // namespace PERCBAL_ISA
}  // namespace percbal
