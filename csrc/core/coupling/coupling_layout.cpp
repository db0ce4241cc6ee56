#include "core/coupling/coupling_layout.h"

#include <algorithm>
#include <numeric>

#include "core/coupling/coupling_chunk.h"
#include "core/coupling/coupling_levels.h"

namespace percbal {
namespace {

constexpr int64_t kChunk = 1 << 16;  // rows of one task

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

bool all_different(const Ids& ids) {
  if (CompactKeys::possible(ids)) {
    std::vector<bool> seen(ids.range() + 1);
    for (int64_t i = 0; i < ids.rows; ++i) {
      const uint64_t at = static_cast<uint64_t>(ids.data[i]) - static_cast<uint64_t>(ids.lowest);
      if (seen[at]) return false;
      seen[at] = true;
    }
    return true;
  }
  const HashedKeys keys(ids, 0);
  HashedKeys::Groups groups(keys, 0, ids.rows);
  for (int64_t i = 0; i < ids.rows; ++i)
    if (groups.add(keys.key(ids.data[i])) != static_cast<int32_t>(i)) return false;
  return true;
}

}  // namespace

bool find_runs(Ids& ids, const Parallel& parallel, GroupLayout& out) {
  const int64_t rows = ids.rows, chunks = (rows + kChunk - 1) / kChunk;
  std::vector<int64_t> heads(chunks + 1, 0);
  std::vector<RunCount> counts(chunks);
  const auto count_runs = PERCBAL_AT_LEVEL(cpu_level(), count_runs<int64_t>);
  parallel(chunks, [&](int64_t c) {
    counts[c] =
        count_runs(ids.data, std::max<int64_t>(c * kChunk, 1), std::min(rows, (c + 1) * kChunk));
    heads[c + 1] = counts[c].heads;
  });
  heads[0] = 1;  // row 0 heads the first run
  std::partial_sum(heads.begin(), heads.end(), heads.begin());
  bool sorted = true;
  ids.lowest = ids.highest = ids.data[0];
  for (const RunCount& count : counts) {
    sorted &= count.descents == 0;
    ids.lowest = std::min(ids.lowest, count.lowest);
    ids.highest = std::max(ids.highest, count.highest);
  }
  if (!sorted && 2 * heads[chunks] > rows) return false;
  out.offsets.resize(heads[chunks] + 1);
  out.ids.resize(heads[chunks]);
  out.offsets.back() = rows;
  out.ids[0] = ids.data[0];
  if (!fill_equal_runs(ids.data, rows, out)) {
    parallel(chunks, [&](int64_t c) {
      int64_t run = heads[c];
      const int64_t end = std::min(rows, (c + 1) * kChunk);
      for (int64_t i = std::max<int64_t>(c * kChunk, 1); i < end; ++i) {
        if (ids.data[i] == ids.data[i - 1]) continue;
        out.offsets[run] = i;
        out.ids[run++] = ids.data[i];
      }
    });
  }
  return sorted || all_different({out.ids.data(), static_cast<int64_t>(out.ids.size()), ids.lowest,
                                  ids.highest});
}

namespace {

template <class Keys>
GroupLayout scattered(const Ids& ids, const Parallel& parallel) {
  const GroupRows<Keys, int32_t, 1> rows(
      ids, [](int64_t i, int32_t* value) { *value = static_cast<int32_t>(i); }, parallel);
  std::vector<std::vector<int64_t>> ends(rows.parts());
  GroupLayout out;
  out.order.resize(ids.rows);
  parallel(rows.parts(), [&](int64_t p) {
    rows.for_parts(p, p + 1, [&](int64_t, int64_t first, const Part<int32_t, 1>& part) {
      std::copy(part.column[0].begin(), part.column[0].end(), out.order.begin() + first);
      for (size_t g = 1; g < part.offsets.size(); ++g) ends[p].push_back(first + part.offsets[g]);
    });
  });
  out.offsets = {0};
  for (const std::vector<int64_t>& part : ends)
    for (const int64_t end : part) {
      out.ids.push_back(ids.data[out.order[out.offsets.back()]]);
      out.offsets.push_back(end);
    }
  return out;
}

}  // namespace

GroupLayout scattered_layout(const Ids& ids, const Parallel& parallel) {
  return CompactKeys::possible(ids) ? scattered<CompactKeys>(ids, parallel)
                                    : scattered<HashedKeys>(ids, parallel);
}

GroupLayout group_layout(const int64_t* data, int64_t rows, const Parallel& parallel) {
  GroupLayout out;
  out.offsets = {0};
  if (rows == 0) return out;
  Ids ids{data, rows, 0, 0};
  return find_runs(ids, parallel, out) ? out : scattered_layout(ids, parallel);
}

}  // namespace percbal
