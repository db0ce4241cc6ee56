// The inner loop of coupling_stats, compiled once per instruction set.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <type_traits>
#include <vector>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "core/simd/parallel.h"
#include "core/simd/level_begin.h"
#include "core/coupling/coupling_block.h"
#include "core/coupling/coupling_counts.h"
#include "core/coupling/coupling_lanes.h"

namespace percbal {

struct RunCount {
  int64_t heads;     // rows whose id differs from the row before
  int64_t descents;  // rows whose id is below the row before
  int64_t lowest, highest;
};

inline namespace PERCBAL_LEVEL {

// Over rows [begin, end), begin > 0.
template <class Id>
RunCount count_runs(const Id* ids, int64_t begin, int64_t end) {
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
bool equal_runs(const Id* ids, int64_t begin, int64_t end, int64_t length) {
  int64_t same = 0;
#pragma GCC unroll 4
  for (int64_t i = std::max<int64_t>(begin, 1); i < end; ++i) same += ids[i] == ids[i - 1];
  int64_t starts = 0;
  for (int64_t i = begin; i < end; i += length) starts += i == 0 || ids[i] > ids[i - 1];
  return starts == (end - begin) / length && same == end - begin - starts;
}

// The sums of the groups of a block: a vector of them for each tile.
template <class Lane, class T>
struct BlockSums {
  using B = Block<Lane, T>;
  PairSums<Lane> pair[2][B::kTiles];
  SignalSums<Lane> signal[B::kTiles];

  // Of binary outcomes beside binary values of target t.
  PERCBAL_HD void sum_counts(const Counts& counts, int t, int tiles, double right_at) {
    for (int k = 0; k < tiles; ++k) {
      const int g = k * B::W;
      const Lane n = lanes_of<Lane>(counts.size + g), per_n = inverse(n);
      const Lane x = lanes_of<Lane>(counts.x + g), y = lanes_of<Lane>(counts.y + g);
      const Lane both = lanes_of<Lane>(counts.both + g);
      pair[t][k] = pair_counts(n, per_n, x, y, both);
      if (t == 0)
        signal[k] = signal_counts(lanes_of<Lane>(counts.scored + g), lanes_of<Lane>(counts.ones + g),
                                  n, x, y, both, right_at);
    }
  }

  // Outcomes are binary, reasoning is not.
  PERCBAL_HD void sum_mixed(B& block, int k) {
    const Shape& shape = block.tile[k];
    const double* z = block.lanes(block.target[1], k);
    Words<Lane> bits;
    memcpy(&bits, block.outcome.ones + k * B::W, sizeof(bits));
    const Lane ones = lanes_of<Lane>(block.outcome.count + k * B::W);
    if (block.outcome.complete && shape.rows > 0 && shape.shortest == shape.rows &&
        sum_binary_pair(bits, ones, z, shape.rows, pair[1][k]))
      return;
    pair[1][k] = sum_pairs<Lane>(block.lanes(block.outcome, k), z, shape.rows);
  }

  PERCBAL_HD void sum_any(B& block, int k, double right_at) {
    const Shape& shape = block.tile[k];
    const bool two = block.in->targets == 2;
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

// The sums of a chunk, one block after another, W groups a vector. acc: candidates x (T x kPairFields
// + kSignalFields) x kAccStride.
template <class Lane, class T>
class ChunkSums {
 public:
  // tables: null where counts are not collected.
  PERCBAL_HD ChunkSums(const Rollouts<T>& in, const CouplingOptions& options, double* acc,
                       CountTables* tables)
      : in_(in), options_(options), acc_(acc), tables_(tables) {
    for (Lane& weight : once_) weight = Lane{} + 1.0;
    for (int t = 0; t < in.targets && tables; ++t) tables->target[t].clear(in.length);
  }

  // Groups from g on, `end` at most; returns how many.
  PERCBAL_HD int64_t add(int64_t g, int64_t end) {
    const int64_t groups = block_.load_groups(in_, g, end);
    for (int64_t c = 0; c < in_.candidates; ++c) add_candidate(c);
    return groups;
  }

  // To call once, at the end.
  PERCBAL_HD void add_tables() {
    for (int t = 0; t < in_.targets && tables_; ++t) {
      CountCells& cells = tables_->cells;
      tables_->target[t].collect(cells);
      for (int from = 0; from < cells.count; from += kBlockGroups) {
        const int tiles = (std::min(cells.count - from, kBlockGroups) + W - 1) / W;
        sums_.sum_counts(cells.from(from), t, tiles, options_.right_at);
        Lane weight[B::kTiles];
        for (int k = 0; k < tiles; ++k) weight[k] = lanes_of<Lane>(cells.weight + from + k * W);
        fold(0, t, weight, tiles);
      }
    }
  }

 private:
  using B = Block<Lane, T>;
  static constexpr int W = B::W;

  PERCBAL_HD void add_candidate(int64_t c) {
    block_.load_candidate(c);
    const bool bits = block_.outcome.binary && block_.target[0].binary;
    const bool mixed = bits && in_.targets == 2 && !block_.target[1].binary;
    for (int k = 0; k < block_.count; ++k) {
      block_.prefetch_next(k);
      if (!bits) sums_.sum_any(block_, k, options_.right_at);
      if (mixed) sums_.sum_mixed(block_, k);
    }
    for (int t = 0; t < in_.targets; ++t) {
      if (bits && !(mixed && t == 1)) {
        const Column<T>&x = block_.outcome, &y = block_.target[t];
        const int groups = block_.count * W;
        int32_t size[kBlockGroups], of_x[kBlockGroups], of_y[kBlockGroups], both[kBlockGroups];
        for (int g = 0; g < groups; ++g) both[g] = __builtin_popcountll(x.ones[g] & y.ones[g]);
        Counts counts{block_.size, x.count, y.count, both, x.numbers, x.count};
        if (!x.complete || !y.complete) {
          for (int g = 0; g < groups; ++g) {
            size[g] = __builtin_popcountll(x.scored[g] & y.scored[g]);
            of_x[g] = __builtin_popcountll(x.ones[g] & y.scored[g]);
            of_y[g] = __builtin_popcountll(x.scored[g] & y.ones[g]);
          }
          counts = {size, of_x, of_y, both, x.numbers, x.count};
        } else if (tables_) {
          tables_->target[t].add(counts, groups);
          continue;
        }
        sums_.sum_counts(counts, t, block_.count, options_.right_at);
      }
      fold(c, t, once_, block_.count);
    }
  }

  PERCBAL_HD void fold(int64_t c, int t, const Lane* weight, int tiles) {
    double* acc = acc_ + c * (in_.targets * kPairFields + kSignalFields) * kAccStride;
    fold_pairs<B::kTiles>(sums_.pair[t], weight, tiles, options_.origin_outcome[c],
                          options_.origin_target[t], acc + t * kPairFields * kAccStride, kAccStride);
    if (t == 0)
      fold_signals(sums_.signal, weight, tiles, options_.eps,
                   acc + in_.targets * kPairFields * kAccStride, kAccStride);
  }

  const Rollouts<T>& in_;
  const CouplingOptions& options_;
  double* acc_;
  CountTables* tables_;
  B block_;
  BlockSums<Lane, T> sums_;
  Lane once_[B::kTiles];  // the weights of groups that are folded one by one
};

// Adds groups [begin, end) to acc.
template <class T>
void add_chunk(const Rollouts<T>& in, const CouplingOptions& options, int64_t begin,
                              int64_t end, double* acc) {
  CountTables tables;
  const bool few_counts = !in.offsets && in.candidates == 1 && in.length <= kTableRows;
  ChunkSums<Wide, T> wide(in, options, acc, few_counts ? &tables : nullptr);
  ChunkSums<double, T> narrow(in, options, acc, nullptr);
  for (int64_t g = begin; g < end;) {
    if (g + kLanes <= end && Block<Wide, T>::fits_lanes(in, g))
      g += wide.add(g, end);
    else
      g += narrow.add(g, g + 1);
  }
  wide.add_tables();
}

}  // namespace PERCBAL_LEVEL
}  // namespace percbal

#include "core/simd/level_end.h"
