// Sums over the rollouts of W groups at once, one group per vector lane. Every lane adds its own
// rows in order, so W = 1 and W = 8 give the same bits.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/coupling_stats.h"

namespace percbal {

constexpr int kLanes = 8;

// Columns of W groups, transposed to [row][lane] and padded with NaN, which means "not scored".
template <int W>
struct Tile {
  std::vector<double> outcome, target[2];
  int64_t rows = 0;  // of the longest group
  double infinite[W];

  template <class T>
  PERCBAL_HD void load_column(const Rollouts<T>& in, const T* column, int64_t stride,
                              int64_t group, std::vector<double>& to) {
    to.resize(rows * W);
    for (int l = 0; l < W; ++l) {
      const int64_t begin = in.offsets[group + l], size = in.offsets[group + l + 1] - begin;
      double* out = to.data() + l;
      if (in.order)
        for (int64_t i = 0; i < size; ++i) out[i * W] = column[in.order[begin + i] * stride];
      else
        for (int64_t i = 0; i < size; ++i) out[i * W] = column[(begin + i) * stride];
      for (int64_t i = size; i < rows; ++i) out[i * W] = std::numeric_limits<double>::quiet_NaN();
    }
    for (int64_t i = 0; i < rows; ++i)
      for (int l = 0; l < W; ++l) {
        const bool inf = std::fabs(to[i * W + l]) == std::numeric_limits<double>::infinity();
        infinite[l] += inf ? 1 : 0;
      }
  }

  template <class T>
  PERCBAL_HD void load(const Rollouts<T>& in, int64_t group, int64_t candidate) {
    rows = 0;
    for (int l = 0; l < W; ++l) {
      infinite[l] = 0;
      rows = std::max(rows, in.offsets[group + l + 1] - in.offsets[group + l]);
    }
    load_column(in, in.outcome + candidate, in.candidates, group, outcome);
    for (int t = 0; t < 2 && in.target[t]; ++t)
      load_column(in, in.target[t], 1, group, target[t]);
  }
};

PERCBAL_HD bool scored(double v) { return v == v; }

// The lane's first scored pair; (0, 0) when there is none.
template <int W>
PERCBAL_HD void first_scored(const double* x, const double* y, int64_t rows, int l, double& x0,
                             double& y0) {
  x0 = y0 = 0;
  for (int64_t i = 0; i < rows; ++i)
    if (scored(x[i * W + l]) && scored(y[i * W + l])) {
      x0 = x[i * W + l];
      y0 = y[i * W + l];
      return;
    }
}

template <int W>
PERCBAL_HD void sum_pairs(const double* x, const double* y, int64_t rows, PairSums* out) {
  double n[W] = {}, sx[W] = {}, sy[W] = {}, sxx[W] = {}, sxy[W] = {}, syy[W] = {}, odd[W] = {},
         wrong[W] = {}, x0[W], y0[W];
  for (int l = 0; l < W; ++l) first_scored<W>(x, y, rows, l, x0[l], y0[l]);
  for (int64_t i = 0; i < rows; ++i)
#pragma GCC ivdep
    for (int l = 0; l < W; ++l) {
      const double vx = x[i * W + l], vy = y[i * W + l];
      const bool both = scored(vx) & scored(vy);
      const double dx = both ? vx - x0[l] : 0, dy = both ? vy - y0[l] : 0;
      n[l] += both ? 1 : 0;
      sx[l] += dx;
      sy[l] += dy;
      sxx[l] += dx * dx;
      sxy[l] += dx * dy;
      syy[l] += dy * dy;
      const bool binary = ((vx == 0) | (vx == 1)) & ((vy == 0) | (vy == 1));
      odd[l] += both & !binary ? 1 : 0;
      wrong[l] += (vx == 1) & (vy == 0) ? 1 : 0;
    }
  for (int l = 0; l < W; ++l)
    out[l] = {n[l], sx[l], sy[l], sxx[l], sxy[l], syy[l], x0[l], y0[l], odd[l], wrong[l]};
}

template <int W>
PERCBAL_HD void sum_signal(const double* x, const double* y, int64_t rows, double right_at,
                           SignalSums* out) {
  double n[W] = {}, sx[W] = {}, sxx[W] = {}, x0[W], y0[W], mean[W], tiny[W];
  double c0[W] = {}, c1[W] = {}, c2[W] = {}, c3[W] = {}, m0[W] = {}, m1[W] = {}, m2[W] = {},
         m3[W] = {}, zr[W] = {}, zw[W] = {};
  for (int l = 0; l < W; ++l) first_scored<W>(x, x, rows, l, x0[l], y0[l]);
  for (int64_t i = 0; i < rows; ++i)
#pragma GCC ivdep
    for (int l = 0; l < W; ++l) {
      const double v = x[i * W + l], d = scored(v) ? v - x0[l] : 0;
      n[l] += scored(v) ? 1 : 0;
      sx[l] += d;
      sxx[l] += d * d;
    }
  for (int l = 0; l < W; ++l) {
    const Spread s = spread(n[l], sx[l], sxx[l]);
    mean[l] = s.mean;
    tiny[l] = kZeroAdvantage * s.std;
  }
  for (int64_t i = 0; i < rows; ++i)
#pragma GCC ivdep
    for (int l = 0; l < W; ++l) {
      const double vx = x[i * W + l], vy = y[i * W + l];
      const bool both = scored(vx) & scored(vy), right = vy >= right_at;
      const double a = both ? vx - x0[l] - mean[l] : 0;
      const bool up = a > tiny[l], down = a < -tiny[l];
      c0[l] += right & up ? 1 : 0;
      m0[l] += right & up ? a : 0;
      c1[l] += right & down ? 1 : 0;
      m1[l] -= right & down ? a : 0;
      c2[l] += !right & up ? 1 : 0;
      m2[l] += !right & up ? a : 0;
      c3[l] += !right & down ? 1 : 0;
      m3[l] -= !right & down ? a : 0;
      zr[l] += both & right & !up & !down ? 1 : 0;
      zw[l] += both & !right & !up & !down ? 1 : 0;
    }
  for (int l = 0; l < W; ++l)
    out[l] = {n[l], sx[l], sxx[l], {c0[l], c1[l], c2[l], c3[l]},
              {m0[l], m1[l], m2[l], m3[l]}, zr[l], zw[l], 0};
}

}  // namespace percbal
