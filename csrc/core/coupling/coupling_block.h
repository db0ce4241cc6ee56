// Neighbouring groups whose columns lie in the first-level cache together: as they are read, as bits,
// and as lanes, a vector for the same row of W groups.
#pragma once
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <vector>

#include "core/coupling/coupling_bits.h"
#include "core/coupling/coupling_stats.h"

namespace percbal {
inline namespace PERCBAL_LEVEL {

constexpr double kNotScored = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kBlockRows = 2048;    // from so many rows on, a block takes no further tile
constexpr int64_t kMaxLaneRows = 1024;  // longer groups go one at a time
constexpr int kBlockGroups = 64;

struct Shape {  // of one tile, the groups of one vector
  int64_t rows, shortest;  // of its longest and its shortest group
  int64_t at;              // of its lanes, in a column's
};

template <class T>
struct Column {
  const T* values;        // (rows of the block)
  bool binary, complete;  // every value is 0, 1 or NaN; and none is NaN
  uint64_t ones[kBlockGroups], scored[kBlockGroups];  // if binary: a bit for each row of a group
  int32_t count[kBlockGroups], numbers[kBlockGroups];  // how many of these bits
  bool in_lanes;
  std::vector<T> gathered;
  std::vector<double> lanes;
};

template <class Lane, class T>
struct Block {
  static constexpr int W = sizeof(Lane) / sizeof(double), kTiles = kBlockGroups / W;
  bool packs = true;  // columns are tried as bits
  const Rollouts<T>* in;
  int64_t first, rows;       // row, and how many
  int64_t shape_length = 0;  // if all groups have as many rows, then the next block has this shape
  int count;                 // tiles
  Shape tile[kTiles];
  int64_t begin[kBlockGroups + 1];  // rows of each group, from the block's first row on
  int32_t size[kBlockGroups];       // how many
  uint64_t mask[kBlockGroups];      // a bit for each, if
  bool fits_words;                  // a word holds every group
  Column<T> outcome, target[2];

  // Groups from `group` on, `end` at most; returns how many.
  PERCBAL_HD int64_t load_groups(const Rollouts<T>& rollouts, int64_t group, int64_t end) {
    in = &rollouts;
    first = in->begin(group);
    const int64_t length = in->offsets ? 0 : in->length;
    if (length == 0 || length != shape_length || group + count * W > end) set_shape(group, end);
    shape_length = length;
    for (int t = 0; t < in->targets; ++t) load_column(target[t], in->target[t], 1);
    return count * W;
  }

  PERCBAL_HD void set_shape(int64_t group, int64_t end) {
    count = 0;
    rows = begin[0] = 0;
    fits_words = true;
    for (int64_t g = group, at = 0; g + W <= end && count < kTiles; g += W) {
      if (count > 0 && (rows >= kBlockRows || !fits_lanes(*in, g))) break;
      Shape shape{0, std::numeric_limits<int64_t>::max(), at};
      for (int l = 0; l < W; ++l) {
        const int64_t n = in->size(g + l);
        fits_words &= fits_bits(rows, n);
        mask[count * W + l] = low_bits(n);
        size[count * W + l] = static_cast<int32_t>(n);
        begin[count * W + l + 1] = rows += n;
        shape.rows = std::max(shape.rows, n);
        shape.shortest = std::min(shape.shortest, n);
      }
      at += shape.rows * W;
      tile[count++] = shape;
    }
  }

  PERCBAL_HD void load_candidate(int64_t c) {
    load_column(outcome, in->outcome + c, in->candidates);
  }

  // Asks for the rows that will lie where those of tile k do in the next block: the processor's own
  // guesses end where the reading of this block does.
  PERCBAL_HD void prefetch_next(int k) const {
    // what is not read in this order, or would drive this block's own rows out of the cache
    if (in->order || in->candidates != 1 || rows > 2 * kBlockRows) return;
    const T *x = in->outcome, *y = in->target[0], *z = in->target[in->targets - 1];
    const int64_t end = std::min(in->rows, first + rows + begin[(k + 1) * W]);
    for (int64_t i = first + rows + begin[k * W]; i < end; i += 64 / sizeof(T)) {
      __builtin_prefetch(x + i);
      __builtin_prefetch(y + i);
      __builtin_prefetch(z + i);
    }
  }

  // Groups share a vector unless that would spend more on padding than on rows.
  PERCBAL_HD static bool fits_lanes(const Rollouts<T>& in, int64_t group) {
    int64_t longest = 0;
    for (int l = 0; l < W; ++l) longest = std::max(longest, in.size(group + l));
    return longest <= kMaxLaneRows && longest * W <= 2 * (in.begin(group + W) - in.begin(group));
  }

  PERCBAL_HD void load_column(Column<T>& column, const T* values, int64_t stride) {
    column.in_lanes = false;
    column.values = values + first;
    if (in->order || stride != 1) {
      column.gathered.resize(rows);
      for (int64_t i = 0; i < rows; ++i)
        column.gathered[i] = values[in->row(first + i) * stride];
      column.values = column.gathered.data();
    }
    // groups that fit words add at most W of them to fewer than kBlockRows rows; one more is read
    uint64_t ones[(kBlockRows + kWordRows * W) / kWordRows + 2], scored[std::size(ones)];
    const bool may_be = packs && fits_words;
    column.complete = may_be && pack_bits<false>(column.values, rows, ones, scored);
    column.binary = column.complete ||
                    (may_be && pack_bits<true>(column.values, rows, ones, scored));
    if (!column.binary) return;
    for (int g = 0; g < count * W; ++g) {
      column.ones[g] = bits_at(ones, begin[g]) & mask[g];
      column.count[g] = __builtin_popcountll(column.ones[g]);
    }
    if (column.complete) {
      memcpy(column.scored, mask, sizeof(mask));
      memcpy(column.numbers, size, sizeof(size));
      return;
    }
    for (int g = 0; g < count * W; ++g) {
      column.scored[g] = bits_at(scored, begin[g]) & mask[g];
      column.numbers[g] = __builtin_popcountll(column.scored[g]);
    }
  }

  // The rows of tile k.
  PERCBAL_HD const double* lanes(Column<T>& column, int k) {
    if (!column.in_lanes) {
      column.in_lanes = true;
      const size_t needed = tile[count - 1].at + tile[count - 1].rows * W;
      if (column.lanes.size() < needed) column.lanes.resize(needed);
      for (int t = 0; t < count; ++t) to_lanes(column.values, t, column.lanes.data() + tile[t].at);
    }
    return column.lanes.data() + tile[k].at;
  }

  PERCBAL_HD void to_lanes(const T* values, int k, double* out) const {
    const int64_t* from = begin + k * W;
    int64_t done = 0;
    if constexpr (W > 1)
      for (; done + W <= tile[k].shortest; done += W)
        transpose([&](int l) { return values + from[l] + done; }, out + done * W);
    if (done == tile[k].rows) return;
    for (int l = 0; l < W; ++l) {
      const int64_t n = size[k * W + l];
      for (int64_t i = done; i < n; ++i) out[i * W + l] = values[from[l] + i];
      for (int64_t i = n; i < tile[k].rows; ++i) out[i * W + l] = kNotScored;
    }
  }
};

}  // namespace PERCBAL_LEVEL
}  // namespace percbal
