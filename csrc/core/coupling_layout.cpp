#include "core/coupling_layout.h"

#include <algorithm>
#include <memory>
#include <numeric>

#include "core/coupling_chunk.h"
#include "core/coupling_levels.h"
#include "core/dispatch.h"
#include "core/numbering.h"

namespace percbal {
namespace {

constexpr int64_t kChunk = 1 << 16;  // rows of one task

using CountRuns = RunCount (*)(const int64_t*, int64_t, int64_t);

CountRuns best_count_runs() {
#if defined(__x86_64__)
  if (cpu_level() == CpuLevel::avx512) return avx512::count_runs<int64_t>;
  if (cpu_level() == CpuLevel::avx2) return avx2::count_runs<int64_t>;
#endif
  return baseline::count_runs<int64_t>;
}

// GRPO's layout: every run as long as the first. Then the starts are known without a search.
bool fill_equal_runs(const int64_t* ids, int64_t rows, GroupLayout& out) {
  const int64_t runs = out.ids.size(), length = rows / runs;
  if (length * runs != rows) return false;
  for (int64_t run = 0; run < runs; ++run) {
    const int64_t row = run * length;
    if (row > 0 && ids[row] == ids[row - 1]) return false;
    out.offsets[run] = row;
    out.ids[run] = ids[row];
  }
  return true;  // `runs` heads, and as many found: there are no others
}

bool all_different(const std::vector<int64_t>& ids) {
  Numbering number(ids.size());
  std::vector<int64_t> seen;
  seen.reserve(ids.size());
  for (size_t i = 0; i < ids.size(); ++i)
    if (number(ids[i], seen) != static_cast<int32_t>(i)) return false;
  return true;
}

// Runs of equal ids, each a candidate group. False when runs are no groups, or are hardly longer
// than a row: then `out` is not filled.
bool find_runs(const int64_t* ids, int64_t rows, const Parallel& parallel, GroupLayout& out) {
  const int64_t chunks = (rows + kChunk - 1) / kChunk;
  std::vector<int64_t> heads(chunks + 1, 0), descents(chunks, 0);
  const CountRuns count_runs = best_count_runs();
  parallel(chunks, [&](int64_t c) {
    const RunCount count =
        count_runs(ids, std::max<int64_t>(c * kChunk, 1), std::min(rows, (c + 1) * kChunk));
    heads[c + 1] = count.heads;
    descents[c] = count.descents;
  });
  heads[0] = 1;  // row 0 heads the first run
  std::partial_sum(heads.begin(), heads.end(), heads.begin());
  const bool sorted =
      std::all_of(descents.begin(), descents.end(), [](int64_t d) { return d == 0; });
  if (!sorted && 2 * heads[chunks] > rows) return false;
  out.offsets.resize(heads[chunks] + 1);
  out.ids.resize(heads[chunks]);
  out.offsets.back() = rows;
  out.ids[0] = ids[0];
  if (!fill_equal_runs(ids, rows, out)) {
    parallel(chunks, [&](int64_t c) {
      int64_t run = heads[c];
      const int64_t end = std::min(rows, (c + 1) * kChunk);
      for (int64_t i = std::max<int64_t>(c * kChunk, 1); i < end; ++i) {
        if (ids[i] == ids[i - 1]) continue;
        out.offsets[run] = i;
        out.ids[run++] = ids[i];
      }
    });
  }
  return sorted || all_different(out.ids);
}

// Groups of one partition's rows: number the ids, then a counting sort into `order`.
struct Partition {
  std::vector<int64_t> ids, sizes;
  void sort(const int64_t* keys, const int32_t* rows, int64_t n, int32_t* order) {
    Numbering number(n);
    std::vector<int32_t> group(n);
    for (int64_t i = 0; i < n; ++i) group[i] = number(keys[i], ids);
    sizes.assign(ids.size(), 0);
    for (int64_t i = 0; i < n; ++i) ++sizes[group[i]];
    std::vector<int64_t> next(ids.size(), 0);
    for (size_t g = 1; g < ids.size(); ++g) next[g] = next[g - 1] + sizes[g - 1];
    for (int64_t i = 0; i < n; ++i) order[next[group[i]]++] = rows[i];
  }
};

// Scattered ids: split the rows by a hash of their id into parts that fit the cache, sort each.
GroupLayout partitioned(const int64_t* ids, int64_t rows, const Parallel& parallel) {
  int bits = 0;
  while (bits < 12 && (rows >> bits) > 4096) ++bits;
  const int64_t parts = int64_t{1} << bits, chunks = (rows + kChunk - 1) / kChunk;
  const auto part_of = [bits](int64_t id) { return bits ? mix(id) >> (64 - bits) : 0; };
  std::vector<int64_t> start(chunks * parts, 0);  // rows of chunk c in part p, then where they go
  parallel(chunks, [&](int64_t c) {
    for (int64_t i = c * kChunk; i < std::min(rows, (c + 1) * kChunk); ++i)
      ++start[c * parts + part_of(ids[i])];
  });
  std::vector<int64_t> part_start(parts + 1, 0);
  int64_t total = 0;
  for (int64_t p = 0; p < parts; ++p) {
    part_start[p] = total;
    for (int64_t c = 0; c < chunks; ++c) {
      const int64_t n = start[c * parts + p];
      start[c * parts + p] = total;
      total += n;
    }
  }
  part_start[parts] = total;
  // not zeroed: the threads touch the pages first, each its own
  const auto keys = std::make_unique_for_overwrite<int64_t[]>(rows);
  const auto index = std::make_unique_for_overwrite<int32_t[]>(rows);
  parallel(chunks, [&](int64_t c) {
    int64_t* next = &start[c * parts];
    for (int64_t i = c * kChunk; i < std::min(rows, (c + 1) * kChunk); ++i) {
      const int64_t to = next[part_of(ids[i])]++;
      keys[to] = ids[i];
      index[to] = static_cast<int32_t>(i);
    }
  });
  GroupLayout out;
  out.order.resize(rows);
  std::vector<Partition> partition(parts);
  parallel(parts, [&](int64_t p) {
    const int64_t at = part_start[p];
    partition[p].sort(&keys[at], &index[at], part_start[p + 1] - at, &out.order[at]);
  });
  size_t groups = 0;
  for (const Partition& part : partition) groups += part.ids.size();
  out.ids.reserve(groups);
  out.offsets.reserve(groups + 1);
  out.offsets.push_back(0);
  for (const Partition& part : partition) {
    out.ids.insert(out.ids.end(), part.ids.begin(), part.ids.end());
    for (const int64_t size : part.sizes) out.offsets.push_back(out.offsets.back() + size);
  }
  return out;
}

}  // namespace

GroupLayout group_layout(const int64_t* ids, int64_t rows, const Parallel& parallel) {
  GroupLayout out;
  out.offsets = {0};
  if (rows == 0) return out;
  if (find_runs(ids, rows, parallel, out)) return out;
  return partitioned(ids, rows, parallel);
}

}  // namespace percbal
