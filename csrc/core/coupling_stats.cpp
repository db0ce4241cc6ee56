#include "core/coupling_stats.h"

#include <algorithm>

#include "core/coupling_lanes.h"

namespace percbal {
namespace {

constexpr int64_t kChunkRows = 8192;   // rows of one task
constexpr int64_t kMaxChunks = 256;    // bounds the memory of the partial sums
constexpr int64_t kMaxLaneRows = 1024; // longer groups go one at a time

struct Scratch {
  Tile<kLanes> wide;
  Tile<1> narrow;
  std::vector<double> lanes;  // [candidate][target or signal][field][lane]
};

template <class T>
int targets(const Rollouts<T>& in) {
  return in.target[1] ? 2 : 1;
}

// Fields of candidate c in `lanes`: T blocks of kPairFields, then kSignalFields.
template <class T>
int64_t candidate_fields(const Rollouts<T>& in) {
  return targets(in) * kPairFields + kSignalFields;
}

template <int W, class T>
PERCBAL_HD void add_groups(const Rollouts<T>& in, const CouplingOptions& options, int64_t group,
                           Tile<W>& tile, double* lanes) {
  const int n_targets = in.target[1] ? 2 : 1;
  for (int64_t c = 0; c < in.candidates; ++c) {
    double* acc = lanes + c * (n_targets * kPairFields + kSignalFields) * kLanes;
    tile.load(in, group, c);
    const double* x = tile.outcome.data();
    for (int t = 0; t < n_targets; ++t, acc += kPairFields * kLanes) {
      PairSums sums[W];
      sum_pairs<W>(x, tile.target[t].data(), tile.rows, sums);
      const double ox = options.origin_outcome[c], oy = options.origin_target[t];
#pragma GCC ivdep
      for (int l = 0; l < W; ++l) fold_pair(sums[l], ox, oy, acc + l, kLanes);
    }
    SignalSums signal[W];
    sum_signal<W>(x, tile.target[0].data(), tile.rows, options.right_at, signal);
#pragma GCC ivdep
    for (int l = 0; l < W; ++l) {
      signal[l].infinite = tile.infinite[l];
      fold_signal(signal[l], options.eps, acc + l, kLanes);
    }
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

template <class T>
PERCBAL_HD void add_range(const Rollouts<T>& in, const CouplingOptions& options, int64_t begin,
                          int64_t end, Scratch& scratch) {
  int64_t g = begin;
  while (g < end) {
    if (g + kLanes <= end && fits_lanes(in, g)) {
      add_groups<kLanes>(in, options, g, scratch.wide, scratch.lanes.data());
      g += kLanes;
    } else {
      add_groups<1>(in, options, g++, scratch.narrow, scratch.lanes.data());
    }
  }
}

PERCBAL_CLONES void add_chunk(const Rollouts<float>& in, const CouplingOptions& options, int64_t b,
                              int64_t e, Scratch& scratch) {
  add_range(in, options, b, e, scratch);
}

PERCBAL_CLONES void add_chunk(const Rollouts<double>& in, const CouplingOptions& options, int64_t b,
                              int64_t e, Scratch& scratch) {
  add_range(in, options, b, e, scratch);
}

template <class T>
int64_t chunk_count(const Rollouts<T>& in) {
  return std::clamp<int64_t>((in.rows + kChunkRows - 1) / kChunkRows, 1, kMaxChunks);
}

// First group of chunk k: chunks hold about the same number of rows, and whole groups.
template <class T>
int64_t chunk_begin(const Rollouts<T>& in, int64_t k, int64_t chunks) {
  if (k == chunks) return in.groups;
  const int64_t row = in.rows * k / chunks;
  return std::lower_bound(in.offsets, in.offsets + in.groups, row) - in.offsets;
}

template <class T, class Visit>
void for_each_group(const Rollouts<T>& in, const Parallel& parallel, const Visit& visit) {
  const int64_t chunks = chunk_count(in);
  parallel(chunks, [&](int64_t k) {
    const int64_t end = chunk_begin(in, k + 1, chunks);
    for (int64_t g = chunk_begin(in, k, chunks); g < end; ++g) visit(g);
  });
}

}  // namespace

template <class T>
void coupling_stats(const Rollouts<T>& in, const CouplingOptions& options, double* pair,
                    double* signal, const Parallel& parallel) {
  const int64_t chunks = chunk_count(in), fields = candidate_fields(in) * in.candidates;
  std::vector<double> partial(chunks * fields);
  parallel(chunks, [&](int64_t k) {
    Scratch scratch;
    scratch.lanes.assign(fields * kLanes, 0);
    add_chunk(in, options, chunk_begin(in, k, chunks), chunk_begin(in, k + 1, chunks), scratch);
    for (int64_t f = 0; f < fields; ++f)
      for (int l = 0; l < kLanes; ++l) partial[k * fields + f] += scratch.lanes[f * kLanes + l];
  });
  for (int64_t k = 1; k < chunks; ++k)
    for (int64_t f = 0; f < fields; ++f) partial[f] += partial[k * fields + f];
  const double* from = partial.data();
  for (int64_t c = 0; c < in.candidates; ++c) {
    for (int t = 0; t < targets(in); ++t, from += kPairFields)
      std::copy(from, from + kPairFields, pair + (t * in.candidates + c) * kPairFields);
    std::copy(from, from + kSignalFields, signal + c * kSignalFields);
    from += kSignalFields;
  }
}

template <class T>
void group_coupling(const Rollouts<T>& in, double* correlation, int64_t* count,
                    const Parallel& parallel) {
  for_each_group(in, parallel, [&](int64_t g) {
    thread_local Tile<1> tile;
    for (int64_t c = 0; c < in.candidates; ++c) {
      tile.load(in, g, c);
      for (int t = 0; t < targets(in); ++t) {
        PairSums s;
        sum_pairs<1>(tile.outcome.data(), tile.target[t].data(), tile.rows, &s);
        const double n = std::max(s.n, 1.0);
        const double xx = at_least_zero(s.xx - s.x * s.x / n), xy = s.xy - s.x * s.y / n;
        const double yy = at_least_zero(s.yy - s.y * s.y / n);
        const int64_t at = (t * in.candidates + c) * in.groups + g;
        correlation[at] = std::clamp(xy / std::sqrt(xx * yy), -1.0, 1.0);  // (C1); 0/0 is NaN
        count[at] = static_cast<int64_t>(s.n);
      }
    }
  });
}

template <class T>
void group_advantage(const Rollouts<T>& in, double eps, T* scaled, T* centred,
                     const Parallel& parallel) {
  for_each_group(in, parallel, [&](int64_t g) {
    thread_local Tile<1> tile;
    for (int64_t c = 0; c < in.candidates; ++c) {
      tile.load(in, g, c);
      double n = 0, sx = 0, sxx = 0, x0, unused;
      first_scored<1>(tile.outcome.data(), tile.outcome.data(), tile.rows, 0, x0, unused);
      for (const double v : tile.outcome) {
        const double d = scored(v) ? v - x0 : 0;
        n += scored(v) ? 1 : 0;
        sx += d;
        sxx += d * d;
      }
      const Spread s = spread(n, sx, sxx);
      for (int64_t i = 0; i < tile.rows; ++i) {
        const int64_t row = in.offsets[g] + i;
        const int64_t at = (in.order ? in.order[row] : row) * in.candidates + c;
        const double a = s.std > 0 || !scored(tile.outcome[i]) ? tile.outcome[i] - x0 - s.mean : 0;
        centred[at] = static_cast<T>(a);
        scaled[at] = static_cast<T>(s.std > 0 ? a / (s.std + eps) : a);
      }
    }
  });
}

template void coupling_stats(const Rollouts<float>&, const CouplingOptions&, double*, double*,
                             const Parallel&);
template void coupling_stats(const Rollouts<double>&, const CouplingOptions&, double*, double*,
                             const Parallel&);
template void group_coupling(const Rollouts<float>&, double*, int64_t*, const Parallel&);
template void group_coupling(const Rollouts<double>&, double*, int64_t*, const Parallel&);
template void group_advantage(const Rollouts<float>&, double, float*, float*, const Parallel&);
template void group_advantage(const Rollouts<double>&, double, double*, double*, const Parallel&);

}  // namespace percbal
