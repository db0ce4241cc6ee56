// Sums over the rollouts of one group (Lane = double) or of eight at once, one per vector lane.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/coupling_stats.h"

namespace percbal {
inline namespace PERCBAL_ISA {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNotScored = std::numeric_limits<double>::quiet_NaN();

// The columns of W groups, transposed to [row][lane] and padded with NaN, which is "not scored".
template <class Lane>
struct Tile {
  static constexpr int W = sizeof(Lane) / sizeof(double);
  std::vector<double> outcome, target[2];
  int64_t rows = 0, shortest = 0;  // of the longest and the shortest group

  template <class T>
  PERCBAL_HD void load_column(const Rollouts<T>& in, const T* column, int64_t stride,
                              int64_t group, std::vector<double>& to) {
    if (to.size() < static_cast<size_t>(rows * W)) to.resize(rows * W);
    double* out = to.data();
    const int64_t* begin = in.offsets + group;
    int64_t done = 0;
    if constexpr (W == 8)
      if (!in.order && stride == 1)
        for (; done + 8 <= shortest; done += 8)
          transpose([&](int l) { return column + begin[l] + done; }, out + done * 8);
    for (int l = 0; l < W; ++l) {
      const int64_t size = begin[l + 1] - begin[l];
      if (in.order)
        for (int64_t i = done; i < size; ++i) out[i * W + l] = column[in.order[begin[l] + i] * stride];
      else
        for (int64_t i = done; i < size; ++i) out[i * W + l] = column[(begin[l] + i) * stride];
      for (int64_t i = size; i < rows; ++i) out[i * W + l] = kNotScored;
    }
  }

  template <class T>
  PERCBAL_HD void load_group(const Rollouts<T>& in, int64_t group) {
    rows = 0;
    shortest = std::numeric_limits<int64_t>::max();
    for (int l = 0; l < W; ++l) {
      const int64_t size = in.offsets[group + l + 1] - in.offsets[group + l];
      rows = std::max(rows, size);
      shortest = std::min(shortest, size);
    }
    for (int t = 0; t < 2 && in.target[t]; ++t) load_column(in, in.target[t], 1, group, target[t]);
  }

  template <class T>
  PERCBAL_HD void load_candidate(const Rollouts<T>& in, int64_t group, int64_t candidate) {
    load_column(in, in.outcome + candidate, in.candidates, group, outcome);
  }
};

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
  return s;
}

template <class Lane>
PERCBAL_HD SignalSums<Lane> sum_signal(const double* x, const double* y, int64_t rows,
                                       double right_at) {
  constexpr int W = sizeof(Lane) / sizeof(double);
  SignalSums<Lane> s{};
  Lane x0, unused;
  first_scored(x, x, rows, x0, unused);
  for (int64_t i = 0; i < rows; ++i) {
    const Lane v = load<Lane>(x + i * W), d = select(scored(v), v - x0, 0.0);
    s.n += select(scored(v), 1.0, 0.0);
    s.x += d;
    s.xx += d * d;
  }
  const Spread<Lane> group = spread(s.n, s.x, s.xx);
  // a constant group has no advantage, whatever the mean's rounding
  const Lane tiny = select(group.std > 0, kZeroAdvantage * group.std, kInfinity);
  const Lane centre = x0 + group.mean;
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
  p.x0 = q.x0 = x0;
  p.y0 = y0;
  q.x = p.x;
  q.xx = p.xx;
  q.y0 = z0;

  SignalSums<Lane> s{};
  s.n = s.known = p.n;
  s.x = p.x;
  s.xx = p.xx;
  const Spread<Lane> group = spread(p.n, p.x, p.xx);
  const Lane tiny = select(group.std > 0, kZeroAdvantage * group.std, kInfinity);
  const Lane centre = x0 + group.mean;
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

}  // namespace PERCBAL_ISA
}  // namespace percbal
