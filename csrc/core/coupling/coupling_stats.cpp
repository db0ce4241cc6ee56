#include "core/coupling/coupling_stats.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "core/coupling/coupling_chunk.h"
#include "core/coupling/coupling_layout.h"
#include "core/coupling/coupling_levels.h"

namespace percbal {

namespace {

constexpr int64_t kChunkRows = 1 << 16;  // rows of one task
constexpr int64_t kMaxChunks = 256;       // bounds the memory of the partial sums

template <class T>
int64_t chunk_count(const Rollouts<T>& in) {
  return std::clamp<int64_t>((in.rows + kChunkRows - 1) / kChunkRows, 1, kMaxChunks);
}

// First group of chunk k: chunks hold about the same number of rows, and whole groups.
template <class T>
int64_t chunk_begin(const Rollouts<T>& in, int64_t k, int64_t chunks) {
  if (k == chunks) return in.groups;
  const int64_t row = in.rows * k / chunks;
  if (!in.offsets) return (row + in.length - 1) / in.length;
  return std::lower_bound(in.offsets, in.offsets + in.groups, row) - in.offsets;
}

// visit(block, g): one group at a time, loaded.
template <class T, class Visit>
void for_each_group(const Rollouts<T>& in, const Parallel& parallel, const Visit& visit) {
  const int64_t chunks = chunk_count(in);
  parallel(chunks, [&](int64_t k) {
    const int64_t end = chunk_begin(in, k + 1, chunks);
    Block<double, T> block;
    block.packs = false;
    for (int64_t g = chunk_begin(in, k, chunks); g < end; ++g) {
      block.load_groups(in, g, g + 1);
      visit(block, g);
    }
  });
}

// Runs tasks 0 ... n - 1, task(k, lanes) adding to its own sums; adds these up in order.
template <class T, class Task>
void sum_tasks(const Rollouts<T>& in, int64_t n, const Parallel& parallel, const Task& task,
               double* pair, double* signal) {
  const int64_t fields = in.candidates * (in.targets * kPairFields + kSignalFields);
  std::vector<double> partial(n * fields);
  parallel(n, [&](int64_t k) {
    std::vector<double> lanes(fields * kAccStride);
    task(k, lanes.data());
    for (int64_t f = 0; f < fields; ++f)
      for (int l = 0; l < kAccStride; ++l) partial[k * fields + f] += lanes[f * kAccStride + l];
  });
  for (int64_t k = 1; k < n; ++k)
    for (int64_t f = 0; f < fields; ++f) partial[f] += partial[k * fields + f];
  const double* from = partial.data();
  for (int64_t c = 0; c < in.candidates; ++c) {
    for (int t = 0; t < in.targets; ++t, from += kPairFields)
      std::copy(from, from + kPairFields, pair + (t * in.candidates + c) * kPairFields);
    std::copy(from, from + kSignalFields, signal + c * kSignalFields);
    from += kSignalFields;
  }
}

// Adds up the groups chunk by chunk, if check(its rows begin, end) is true of every chunk: returns it.
template <class T, class Check>
bool sum_chunks(const Rollouts<T>& in, const CouplingOptions& options, double* pair, double* signal,
                const Parallel& parallel, const Check& check) {
  const int64_t chunks = chunk_count(in);
  const auto add_chunk = PERCBAL_AT_LEVEL(cpu_level(), add_chunk<T>);
  std::atomic<bool> good = true;
  const auto task = [&](int64_t k, double* lanes) {
    const int64_t begin = chunk_begin(in, k, chunks), end = chunk_begin(in, k + 1, chunks);
    if (good && check(in.begin(begin), in.begin(end)))
      add_chunk(in, options, begin, end, lanes);
    else
      good = false;
  };
  sum_tasks(in, chunks, parallel, task, pair, signal);
  return good;
}

// GRPO's layout, runs as long as the first one and of growing ids, is checked and summed in one pass
// over the rows. False, with sums that mean nothing, if the layout is another.
template <class T>
bool sum_equal_runs(Rollouts<T> in, const int64_t* ids, const CouplingOptions& options, double* pair,
                    double* signal, const Parallel& parallel) {
  in.length = std::find_if(ids, ids + in.rows, [&](int64_t id) { return id != *ids; }) - ids;
  if (in.rows == 0 || in.rows % in.length != 0) return false;
  in.order = nullptr;
  in.offsets = nullptr;
  in.groups = in.rows / in.length;
  const auto equal_runs = PERCBAL_AT_LEVEL(cpu_level(), equal_runs<int64_t>);
  return sum_chunks(in, options, pair, signal, parallel, [&](int64_t begin, int64_t end) {
    return equal_runs(ids, begin, end, in.length);
  });
}

// One candidate: its values travel with the rows, so that no column is read out of order.
template <class Keys, int Targets, class T>
void sum_scattered(const Rollouts<T>& in, const Ids& ids, const CouplingOptions& options,
                   double* pair, double* signal, const Parallel& parallel) {
  const GroupRows<Keys, T, 1 + Targets> rows(
      ids,
      [&](int64_t i, T* value) {
        value[0] = in.outcome[i];
        for (int t = 0; t < Targets; ++t) value[1 + t] = in.target[t][i];
      },
      parallel);
  const auto add_chunk = PERCBAL_AT_LEVEL(cpu_level(), add_chunk<T>);
  const int64_t tasks = std::min(rows.parts(), kMaxChunks);
  const auto task = [&](int64_t k, double* lanes) {
    rows.for_parts(rows.parts() * k / tasks, rows.parts() * (k + 1) / tasks,
                   [&](int64_t, int64_t, const Part<T, 1 + Targets>& part) {
                     Rollouts<T> view = in;
                     view.outcome = part.column[0].data();
                     for (int t = 0; t < Targets; ++t) view.target[t] = part.column[1 + t].data();
                     view.order = nullptr;
                     view.offsets = part.offsets.data();
                     view.groups = static_cast<int64_t>(part.offsets.size()) - 1;
                     view.rows = part.offsets.back();
                     add_chunk(view, options, 0, view.groups, lanes);
                   });
  };
  sum_tasks(in, tasks, parallel, task, pair, signal);
}

}  // namespace

template <class T>
void coupling_stats(const Rollouts<T>& in, const CouplingOptions& options, double* pair,
                    double* signal, const Parallel& parallel) {
  sum_chunks(in, options, pair, signal, parallel, [](int64_t, int64_t) { return true; });
}

template <class T>
void coupling_stats_by_id(Rollouts<T> in, const int64_t* data, const CouplingOptions& options,
                          double* pair, double* signal, const Parallel& parallel) {
  if (sum_equal_runs(in, data, options, pair, signal, parallel)) return;
  Ids ids{data, in.rows, 0, 0};
  GroupLayout layout;
  layout.offsets = {0};
  const bool runs = ids.rows == 0 || find_runs(ids, parallel, layout);
  if (!runs && in.candidates == 1) {
    const auto sum = CompactKeys::possible(ids)
                         ? (in.targets == 2 ? sum_scattered<CompactKeys, 2, T>
                                            : sum_scattered<CompactKeys, 1, T>)
                         : (in.targets == 2 ? sum_scattered<HashedKeys, 2, T>
                                            : sum_scattered<HashedKeys, 1, T>);
    return sum(in, ids, options, pair, signal, parallel);
  }
  if (!runs) layout = scattered_layout(ids, parallel);
  in.order = runs ? nullptr : layout.order.data();
  in.offsets = layout.offsets.data();
  in.groups = static_cast<int64_t>(layout.offsets.size()) - 1;
  coupling_stats(in, options, pair, signal, parallel);
}

template <class T>
void group_coupling(const Rollouts<T>& in, double* correlation, int64_t* count,
                    const Parallel& parallel) {
  for_each_group(in, parallel, [&](Block<double, T>& block, int64_t g) {
    for (int64_t c = 0; c < in.candidates; ++c) {
      block.load_candidate(c);
      for (int t = 0; t < in.targets; ++t) {
        const PairSums<double> s = sum_pairs<double>(
            block.lanes(block.outcome, 0), block.lanes(block.target[t], 0), block.rows);
        const Central<double> w = central(s);
        const int64_t at = (t * in.candidates + c) * in.groups + g;
        correlation[at] = std::clamp(w.xy / std::sqrt(w.xx * w.yy), -1.0, 1.0);  // (C1); 0/0 is NaN
        count[at] = static_cast<int64_t>(s.n);
      }
    }
  });
}

template <class T>
void group_advantage(const Rollouts<T>& in, double eps, T* scaled, T* centred,
                     const Parallel& parallel) {
  for_each_group(in, parallel, [&](Block<double, T>& block, int64_t) {
    for (int64_t c = 0; c < in.candidates; ++c) {
      block.load_candidate(c);
      const double* x = block.lanes(block.outcome, 0);
      double n = 0, sx = 0, sxx = 0, x0, unused;
      first_scored(x, x, block.rows, x0, unused);
      for (int64_t i = 0; i < block.rows; ++i) {
        const double d = scored(x[i]) ? x[i] - x0 : 0;
        n += scored(x[i]) ? 1 : 0;
        sx += d;
        sxx += d * d;
      }
      const Spread<double> s = spread(n, sx, sxx);
      for (int64_t i = 0; i < block.rows; ++i) {
        const int64_t at = in.row(block.first + i) * in.candidates + c;
        const double a = s.std == 0 && scored(x[i]) ? 0 : x[i] - x0 - s.mean;
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
template void coupling_stats_by_id(Rollouts<float>, const int64_t*, const CouplingOptions&,
                                   double*, double*, const Parallel&);
template void coupling_stats_by_id(Rollouts<double>, const int64_t*, const CouplingOptions&,
                                   double*, double*, const Parallel&);
template void group_coupling(const Rollouts<float>&, double*, int64_t*, const Parallel&);
template void group_coupling(const Rollouts<double>&, double*, int64_t*, const Parallel&);
template void group_advantage(const Rollouts<float>&, double, float*, float*, const Parallel&);
template void group_advantage(const Rollouts<double>&, double, double*, double*, const Parallel&);

}  // namespace percbal
