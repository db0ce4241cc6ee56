// The inner loop of coupling_stats, compiled once per instruction set.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/coupling_block.h"
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

// Whether rows [begin, end) are runs of `length`, every one of a greater id than the one before.
template <class Id>
PERCBAL_TARGET bool equal_runs(const Id* ids, int64_t begin, int64_t end, int64_t length) {
  int64_t same = 0;
#pragma GCC unroll 4
  for (int64_t i = std::max<int64_t>(begin, 1); i < end; ++i) same += ids[i] == ids[i - 1];
  int64_t starts = 0;
  for (int64_t i = begin; i < end; i += length) starts += i == 0 || ids[i] > ids[i - 1];
  return starts == (end - begin) / length && same == end - begin - starts;
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

// How many ones two binary columns share, group by group.
template <class T>
PERCBAL_HD void count_shared(const Column<T>& a, const Column<T>& b, int groups, int32_t* out) {
  for (int g = 0; g < groups; ++g) out[g] = __builtin_popcountll(a.ones[g] & b.ones[g]);
}

// The sums of the groups of a block: a vector of them for each tile.
template <class Lane, class T>
struct BlockSums {
  using B = Block<Lane, T>;
  PairSums<Lane> pair[2][B::kTiles];
  SignalSums<Lane> signal[B::kTiles];

  PERCBAL_HD void sum(B& block, double right_at) {
    const bool two = block.in->targets == 2;
    const bool bits = block.outcome.binary && block.target[0].binary;
    if (bits) sum_bits(block, right_at);
    for (int k = 0; k < block.count; ++k) {
      block.prefetch_next(k);
      if (!bits) sum_any(block, k, two, right_at);
      else if (two && !block.target[1].binary) sum_mixed(block, k);
    }
  }

  // Outcome and perception are binary, and reasoning too where it is.
  PERCBAL_HD void sum_bits(B& block, double right_at) {
    const Column<T>&x = block.outcome, &y = block.target[0], &z = block.target[1];
    const bool three = block.in->targets == 2 && z.binary;
    int32_t with_y[kBlockGroups], with_z[kBlockGroups], size[kBlockGroups];
    const int groups = block.count * B::W;
    for (int g = 0; g < groups; ++g) size[g] = block.begin[g + 1] - block.begin[g];
    count_shared(x, y, groups, with_y);
    if (three) count_shared(x, z, groups, with_z);
    for (int k = 0; k < block.count; ++k) {
      const int g = k * B::W;
      const Lane n = lanes_of<Lane>(size + g), per_n = inverse(n);
      const Lane ones_x = lanes_of<Lane>(x.count + g), ones_y = lanes_of<Lane>(y.count + g);
      const Lane shared = lanes_of<Lane>(with_y + g);
      pair[0][k] = sum_counts(n, per_n, ones_x, ones_y, shared);
      signal[k] = signal_counts(n, ones_x, ones_y, shared, right_at);
      if (three)
        pair[1][k] = sum_counts(n, per_n, ones_x, lanes_of<Lane>(z.count + g),
                                lanes_of<Lane>(with_z + g));
    }
  }

  // Outcome is binary, reasoning not.
  PERCBAL_HD void sum_mixed(B& block, int k) {
    const Shape& shape = block.tile[k];
    const double* z = block.lanes(block.target[1], k);
    Words<Lane> bits;
    memcpy(&bits, block.outcome.ones + k * B::W, sizeof(bits));
    const Lane ones = lanes_of<Lane>(block.outcome.count + k * B::W);
    if (shape.rows > 0 && shape.shortest == shape.rows &&
        sum_binary_pair(bits, ones, z, shape.rows, pair[1][k]))
      return;
    pair[1][k] = sum_pairs<Lane>(block.lanes(block.outcome, k), z, shape.rows);
  }

  PERCBAL_HD void sum_any(B& block, int k, bool two, double right_at) {
    const Shape& shape = block.tile[k];
    const double *x = block.lanes(block.outcome, k), *y = block.lanes(block.target[0], k);
    const double* z = two ? block.lanes(block.target[1], k) : nullptr;
    PairSums<Lane> both[2];
    if (shape.rows > 0 && shape.shortest == shape.rows &&
        (two ? sum_complete<true>(x, y, z, shape.rows, right_at, both, signal[k])
             : sum_complete<false>(x, y, z, shape.rows, right_at, both, signal[k]))) {
      pair[0][k] = both[0];
      pair[1][k] = both[1];
      return;
    }
    pair[0][k] = sum_pairs<Lane>(x, y, shape.rows);
    if (two) pair[1][k] = sum_pairs<Lane>(x, z, shape.rows);
    signal[k] = sum_signal<Lane>(x, y, shape.rows, right_at);
  }
};

template <class Lane, class T>
PERCBAL_HD void add_block(Block<Lane, T>& block, BlockSums<Lane, T>& sums,
                          const CouplingOptions& options, double* acc) {
  constexpr int kMost = Block<Lane, T>::kTiles;
  for (int64_t c = 0; c < block.in->candidates; ++c) {
    block.load_candidate(c);
    sums.sum(block, options.right_at);
    for (int t = 0; t < block.in->targets; ++t, acc += kPairFields * kAccStride)
      fold_pairs<kMost>(sums.pair[t], block.count, options.origin_outcome[c],
                        options.origin_target[t], acc, kAccStride);
    fold_signals(sums.signal, block.count, options.eps, acc, kAccStride);
    acc += kSignalFields * kAccStride;
  }
}

// Adds groups [begin, end) to acc: candidates x (T x kPairFields + kSignalFields) x kAccStride.
template <class T>
PERCBAL_TARGET void add_chunk(const Rollouts<T>& in, const CouplingOptions& options, int64_t begin,
                              int64_t end, double* acc) {
  Block<Wide, T> wide;
  BlockSums<Wide, T> wide_sums;
  Block<double, T> narrow;
  BlockSums<double, T> narrow_sums;
  for (int64_t g = begin; g < end;) {
    if (g + kLanes <= end && Block<Wide, T>::fits_lanes(in, g)) {
      g += wide.load_groups(in, g, end);
      add_block(wide, wide_sums, options, acc);
    } else {
      g += narrow.load_groups(in, g, g + 1);
      add_block(narrow, narrow_sums, options, acc);
    }
  }
}

}  // namespace PERCBAL_ISA
}  // namespace percbal
