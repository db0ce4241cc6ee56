// Most rewards are right or wrong: then every sum of a group follows from how many of its rollouts are
// ones of x, of y and of both; and small groups of one size differ in few ways.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/coupling/coupling_fields.h"

namespace percbal {
inline namespace PERCBAL_LEVEL {

// Sums of one binary column about x0, its only value where it is constant: then they are exact zeros.
template <class Lane>
struct Ones {
  Lane x0, x;  // the sum of squares is x too

  PERCBAL_HD Ones(const Lane& n, const Lane& ones)
      : x0(select(ones == n, 1.0, 0.0)), x(select(ones == n, Lane{}, ones)) {}
};

// One pair of binary columns, from its counts.
template <class Lane>
PERCBAL_HD PairSums<Lane> pair_counts(const Lane& n, const Lane& per_n, const Lane& ones_x,
                                      const Lane& ones_y, const Lane& ones_both) {
  const Ones<Lane> x(n, ones_x), y(n, ones_y);
  PairSums<Lane> s;
  s.n = s.binary = n;
  s.per_n = per_n;
  s.x0 = x.x0;
  s.y0 = y.x0;
  s.x = s.xx = x.x;
  s.y = s.yy = y.x;
  s.xy = ones_both - x.x0 * ones_y - y.x0 * x.x;
  return s;
}

// What the gradient sees of a binary outcome, `ones` of n, beside a binary perception y: all ones have one
// advantage, all zeros another. The other counts are those of rollouts with both, x its outcome.
template <class Lane>
PERCBAL_HD SignalSums<Lane> signal_counts(const Lane& n, const Lane& ones, const Lane& known,
                                          const Lane& ones_x, const Lane& ones_y,
                                          const Lane& ones_both, double right_at) {
  const Ones<Lane> x(n, ones);
  const double one_right = right_at <= 1 ? 1.0 : 0.0, zero_right = right_at <= 0 ? 1.0 : 0.0;
  SignalSums<Lane> s;
  s.n = n;
  s.known = known;
  s.spread = spread(n, x.x, x.x);
  s.known_right = one_right * ones_y + zero_right * (known - ones_y);
  const Lane right_up = one_right * ones_both + zero_right * (ones_x - ones_both);
  // a constant group has no advantage
  const Lane moves = select(s.spread.std > 0, 1.0, 0.0);
  s.cells[0] = moves * right_up;
  s.cells[1] = moves * (s.known_right - right_up);
  s.cells[2] = moves * (ones_x - right_up);
  s.cells[3] = moves * (known - ones_x) - s.cells[1];
  const Lane mean = x.x0 + s.spread.mean;
  for (int k = 0; k < 4; ++k) s.mass[k] = s.cells[k] * (k % 2 ? mean : 1 - mean);
  return s;
}

// The int32 of each lane's group.
template <class Lane>
PERCBAL_HD Lane lanes_of(const int32_t* values) {
  if constexpr (sizeof(Lane) == sizeof(double)) {
    return *values;
  } else {
    typedef int32_t V __attribute__((vector_size(4 * kLanes)));
    V v;
    memcpy(&v, values, sizeof(v));
    return __builtin_convertvector(v, Lane);
  }
}

struct Counts {  // of several groups: rollouts with x and y, and their ones of x, of y and of both
  const int32_t *size, *x, *y, *both;
  const int32_t *scored, *ones;  // rollouts with x, and their ones
};

constexpr int kTableRows = 16;  // groups of more have too many different counts

struct CountCells {  // the different counts of a table, and how many groups have each
  // ways to split kTableRows rollouts by x and y
  static constexpr int kMost = (kTableRows + 1) * (kTableRows + 2) * (kTableRows + 3) / 6;
  static constexpr int kRoom = kMost + kLanes;
  int count;
  int32_t size[kRoom], x[kRoom], y[kRoom], both[kRoom], weight[kRoom];

  PERCBAL_HD Counts from(int cell) const {
    return {size + cell, x + cell, y + cell, both + cell, size + cell, x + cell};
  }
};

// How many groups of `length` rollouts have which counts.
class CountTable {
 public:
  PERCBAL_HD void clear(int64_t length) {
    length_ = static_cast<int>(length);
    memset(cells_, 0, sizeof(cells_));
  }

  PERCBAL_HD void add(const Counts& counts, int groups) {
    for (int g = 0; g < groups; ++g) ++cells_[at(counts.x[g], counts.y[g], counts.both[g])];
  }

  PERCBAL_HD void collect(CountCells& out) const {
    int n = 0;
    for (int x = 0; x <= length_; ++x)
      for (int y = 0; y <= length_; ++y)
        for (int both = std::max(0, x + y - length_); both <= std::min(x, y); ++both) {
          const int32_t groups = cells_[at(x, y, both)];
          if (groups == 0) continue;
          out.x[n] = x;
          out.y[n] = y;
          out.both[n] = both;
          out.weight[n++] = groups;
        }
    out.count = n;
    // the last vector is filled up with what weighs nothing
    for (int i = n; i < n + kLanes; ++i) out.x[i] = out.y[i] = out.both[i] = out.weight[i] = 0;
    std::fill(out.size, out.size + n + kLanes, length_);
  }

 private:
  PERCBAL_HD int at(int x, int y, int both) const {
    return (x * (length_ + 1) + y) * (length_ + 1) + both;
  }

  int length_;
  int32_t cells_[(kTableRows + 1) * (kTableRows + 1) * (kTableRows + 1)];
};

struct CountTables {  // of one outcome
  CountTable target[2];
  CountCells cells;  // of one of them at a time
};

}  // namespace PERCBAL_LEVEL
}  // namespace percbal
