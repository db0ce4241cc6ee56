// Sums over the rollouts of one group (Lane = double) or of several at once, one per vector lane. A
// column is (rows, W) doubles, padded with NaN, which is "not scored".
#pragma once
#include <cstdint>
#include <limits>

#include "core/coupling/coupling_bits.h"
#include "core/coupling/coupling_counts.h"

namespace percbal {
inline namespace PERCBAL_LEVEL {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <class Lane>
PERCBAL_HD auto scored(Lane v) {
  return v == v;
}

// Each lane's first pair with both values, and (0, 0) without one.
template <class Lane>
PERCBAL_HD void first_scored(const double* x, const double* y, int64_t rows, Lane& x0, Lane& y0) {
  constexpr int W = sizeof(Lane) / sizeof(double);
  if (rows > 0) {
    x0 = load<Lane>(x);
    y0 = load<Lane>(y);
    const double any_missing = sum_lanes(x0 + y0);
    if (any_missing == any_missing) return;
  }
  double out[2][W] = {};
  for (int l = 0; l < W; ++l)
    for (int64_t at = l; at < rows * W; at += W)
      if (scored(x[at]) && scored(y[at])) {
        out[0][l] = x[at];
        out[1][l] = y[at];
        break;
      }
  x0 = load<Lane>(out[0]);
  y0 = load<Lane>(out[1]);
}

template <class Lane>
PERCBAL_HD PairSums<Lane> sum_pairs(const double* x, const double* y, int64_t rows) {
  constexpr int W = sizeof(Lane) / sizeof(double);
  PairSums<Lane> s{};
  first_scored(x, y, rows, s.x0, s.y0);
  for (int64_t i = 0; i < rows; ++i) {
    const Lane vx = load<Lane>(x + i * W), vy = load<Lane>(y + i * W);
    const auto both = scored(vx) & scored(vy);
    const Lane dx = select(both, vx - s.x0, 0.0), dy = select(both, vy - s.y0, 0.0);
    s.n += select(both, 1.0, 0.0);
    s.x += dx;
    s.y += dy;
    s.xx += dx * dx;
    s.xy += dx * dy;
    s.yy += dy * dy;
    s.binary += select((vx * vx == vx) & (vy * vy == vy), 1.0, 0.0);
  }
  s.per_n = inverse(s.n);
  return s;
}

// x binary, `ones` of it in a group, a bit each in `x_bits`; y complete. False, with sums that mean
// nothing, when a value of y is missing (or infinite).
template <class Lane>
PERCBAL_HD bool sum_binary_pair(Words<Lane> x_bits, const Lane& ones, const double* y, int64_t rows,
                                PairSums<Lane>& s) {
  constexpr int W = sizeof(Lane) / sizeof(double);
  const Lane y0 = load<Lane>(y);
  Lane sum{}, squares{}, of_ones{}, binary{};
#pragma GCC unroll 4
  for (int64_t i = 0; i < rows; ++i, x_bits >>= 1) {
    const Lane v = load<Lane>(y + i * W), d = v - y0;
    sum += d;
    squares += d * d;
    of_ones += select((x_bits & 1) != 0, d, 0.0);
    binary += select(v * v == v, 1.0, 0.0);
  }
  const double any_missing = sum_lanes(squares * 0.0);
  if (any_missing != 0) return false;
  s.n = Lane{} + static_cast<double>(rows);
  s.per_n = Lane{} + 1.0 / static_cast<double>(rows);
  const Ones<Lane> x(s.n, ones);
  s.x0 = x.x0;
  s.x = s.xx = x.x;
  s.y0 = y0;
  s.y = sum;
  s.yy = squares;
  s.xy = of_ones - x.x0 * sum;
  s.binary = binary;
  return true;
}

template <class Lane>
PERCBAL_HD SignalSums<Lane> sum_signal(const double* x, const double* y, int64_t rows,
                                       double right_at) {
  constexpr int W = sizeof(Lane) / sizeof(double);
  SignalSums<Lane> s{};
  Lane x0, unused;
  first_scored(x, x, rows, x0, unused);
  Lane sum{}, squares{};
  for (int64_t i = 0; i < rows; ++i) {
    const Lane v = load<Lane>(x + i * W), d = select(scored(v), v - x0, 0.0);
    s.n += select(scored(v), 1.0, 0.0);
    sum += d;
    squares += d * d;
  }
  s.spread = spread(s.n, sum, squares);
  // a constant group has no advantage, whatever the mean's rounding
  const Lane tiny = select(s.spread.std > 0, kZeroAdvantage * s.spread.std, kInfinity);
  const Lane centre = x0 + s.spread.mean;
  for (int64_t i = 0; i < rows; ++i) {
    const Lane vx = load<Lane>(x + i * W), vy = load<Lane>(y + i * W);
    const auto both = scored(vx) & scored(vy);
    const Lane a = select(both, vx - centre, 0.0);
    const Lane up = select(a > tiny, a, 0.0), down = select(a < -tiny, -a, 0.0);
    const Lane one_up = select(a > tiny, 1.0, 0.0), one_down = select(a < -tiny, 1.0, 0.0);
    // products with 0 and 1: cheaper than combining masks
    const Lane right = select(vy >= right_at, 1.0, 0.0), known = select(both, 1.0, 0.0);
    s.cells[0] += right * one_up;
    s.cells[1] += right * one_down;
    s.cells[2] += one_up;
    s.cells[3] += one_down;
    s.mass[0] += right * up;
    s.mass[1] += right * down;
    s.mass[2] += up;
    s.mass[3] += down;
    s.known += known;
    s.known_right += known * right;
  }
  for (int k = 0; k < 2; ++k) {  // what is not right is wrong
    s.cells[k + 2] -= s.cells[k];
    s.mass[k + 2] = at_least_zero(s.mass[k + 2] - s.mass[k]);
  }
  return s;
}

// Every sum of groups of one size in which nothing is missing, which is what most rewards look like:
// two passes instead of four, and hardly a mask. Two = there are two targets. False, with sums that
// mean nothing, when a value is missing (or infinite): the functions above do those.
template <bool Two, class Lane>
PERCBAL_HD bool sum_complete(const double* x, const double* y, const double* z, int64_t rows,
                             double right_at, PairSums<Lane>* pair, SignalSums<Lane>& signal) {
  constexpr int W = sizeof(Lane) / sizeof(double);
  const Lane x0 = load<Lane>(x), y0 = load<Lane>(y), z0 = load<Lane>(Two ? z : y);
  PairSums<Lane> p{}, q{};
  for (int64_t i = 0; i < rows; ++i) {
    const Lane vx = load<Lane>(x + i * W), vy = load<Lane>(y + i * W);
    const Lane dx = vx - x0, dy = vy - y0;
    const Lane binary_x = select(vx * vx == vx, 1.0, 0.0);
    p.x += dx;
    p.xx += dx * dx;
    p.y += dy;
    p.yy += dy * dy;
    p.xy += dx * dy;
    p.binary += select(vy * vy == vy, binary_x, 0.0);
    if constexpr (Two) {
      const Lane vz = load<Lane>(z + i * W), dz = vz - z0;
      q.y += dz;
      q.yy += dz * dz;
      q.xy += dx * dz;
      q.binary += select(vz * vz == vz, binary_x, 0.0);
    }
  }
  const double any_missing = sum_lanes((p.xx + p.yy + q.yy) * 0.0);
  if (any_missing != 0) return false;
  p.n = q.n = Lane{} + static_cast<double>(rows);
  p.per_n = q.per_n = Lane{} + 1.0 / static_cast<double>(rows);
  p.x0 = q.x0 = x0;
  p.y0 = y0;
  q.x = p.x;
  q.xx = p.xx;
  q.y0 = z0;

  SignalSums<Lane> s{};
  s.n = s.known = p.n;
  s.spread = spread(p.n, p.x, p.xx);
  const Lane tiny = select(s.spread.std > 0, kZeroAdvantage * s.spread.std, kInfinity);
  const Lane centre = x0 + s.spread.mean;
  Lane ups{}, downs{}, up_mass{}, down_mass{};
  for (int64_t i = 0; i < rows; ++i) {
    const Lane a = load<Lane>(x + i * W) - centre;
    const Lane right = select(load<Lane>(y + i * W) >= right_at, 1.0, 0.0);
    const Lane one_up = select(a > tiny, 1.0, 0.0), one_down = select(a < -tiny, 1.0, 0.0);
    const Lane up = a * one_up, down = a * one_down;
    s.known_right += right;
    ups += one_up;
    downs += one_down;
    up_mass += up;
    down_mass -= down;
    s.cells[0] += right * one_up;
    s.cells[1] += right * one_down;
    s.mass[0] += right * up;
    s.mass[1] -= right * down;
  }
  s.cells[2] = ups - s.cells[0];
  s.cells[3] = downs - s.cells[1];
  s.mass[2] = at_least_zero(up_mass - s.mass[0]);
  s.mass[3] = at_least_zero(down_mass - s.mass[1]);
  pair[0] = p;
  pair[1] = q;
  signal = s;
  return true;
}

}  // namespace PERCBAL_LEVEL
}  // namespace percbal
