// The inner loop of coupling_stats, compiled once per instruction set.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/coupling_lanes.h"

namespace percbal {

struct RunCount {
  int64_t heads;     // rows whose id differs from the row before
  int64_t descents;  // rows whose id is below the row before
  int64_t lowest, highest;
};

inline namespace PERCBAL_ISA {

// Over rows [begin, end), begin > 0.
template <class Id>
PERCBAL_TARGET RunCount count_runs(const Id* ids, int64_t begin, int64_t end) {
  int64_t heads = 0, descents = 0, lowest = ids[begin - 1], highest = lowest;
  for (int64_t i = begin; i < end; ++i) {
    heads += ids[i] != ids[i - 1];
    descents += ids[i] < ids[i - 1];
    lowest = ids[i] < lowest ? ids[i] : lowest;
    highest = ids[i] > highest ? ids[i] : highest;
  }
  return {heads, descents, lowest, highest};
}

constexpr int kLanes = 8;
constexpr int64_t kMaxLaneRows = 1024;  // longer groups go one at a time

struct Tiles {
  Tile<Eight> wide;
  Tile<double> narrow;
};

template <class Lane, class T>
PERCBAL_HD void sum_groups(const Rollouts<T>& in, const Tile<Lane>& tile, double right_at,
                           PairSums<Lane>* pair, SignalSums<Lane>& signal) {
  const double *x = tile.outcome.data(), *y = tile.target[0].data(), *z = tile.target[1].data();
  if (tile.rows > 0 && tile.shortest == tile.rows &&
      (in.target[1] ? sum_complete<true>(x, y, z, tile.rows, right_at, pair, signal)
                    : sum_complete<false>(x, y, z, tile.rows, right_at, pair, signal)))
    return;
  pair[0] = sum_pairs<Lane>(x, y, tile.rows);
  if (in.target[1]) pair[1] = sum_pairs<Lane>(x, z, tile.rows);
  signal = sum_signal<Lane>(x, y, tile.rows, right_at);
}

template <class Lane, class T>
PERCBAL_HD void add_groups(const Rollouts<T>& in, const CouplingOptions& options, int64_t group,
                           Tile<Lane>& tile, double* acc) {
  PairSums<Lane> pair[2];
  SignalSums<Lane> signal;
  tile.load_group(in, group);
  for (int64_t c = 0; c < in.candidates; ++c) {
    tile.load_candidate(in, group, c);
    sum_groups(in, tile, options.right_at, pair, signal);
    for (int t = 0; t < 2 && in.target[t]; ++t, acc += kPairFields * kLanes)
      fold_pair(pair[t], options.origin_outcome[c], options.origin_target[t], acc, kLanes);
    fold_signal(signal, options.eps, acc, kLanes);
    acc += kSignalFields * kLanes;
  }
}

// Eight groups share the lanes unless that would spend more on padding than on rows.
template <class T>
PERCBAL_HD bool fits_lanes(const Rollouts<T>& in, int64_t group) {
  int64_t longest = 0;
  for (int l = 0; l < kLanes; ++l)
    longest = std::max(longest, in.offsets[group + l + 1] - in.offsets[group + l]);
  const int64_t rows = in.offsets[group + kLanes] - in.offsets[group];
  return longest <= kMaxLaneRows && longest * kLanes <= 2 * rows;
}

// Adds groups [begin, end) to acc: candidates x (T x kPairFields + kSignalFields) x kLanes.
template <class T>
PERCBAL_TARGET void add_chunk(const Rollouts<T>& in, const CouplingOptions& options, int64_t begin,
                              int64_t end, double* acc) {
  Tiles tiles;
  int64_t g = begin;
  while (g < end) {
    if (g + kLanes <= end && fits_lanes(in, g)) {
      add_groups<Eight>(in, options, g, tiles.wide, acc);
      g += kLanes;
    } else {
      add_groups<double>(in, options, g++, tiles.narrow, acc);
    }
  }
}

}  // namespace PERCBAL_ISA
}  // namespace percbal
