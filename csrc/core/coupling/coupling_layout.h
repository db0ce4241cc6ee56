// Which rows form which group, for group ids in any order: the first step of every group statistic.
#pragma once
#include <cstdint>
#include <vector>

#include "core/coupling/group_rows.h"
#include "core/simd/parallel.h"

namespace percbal {

struct GroupLayout {
  std::vector<int32_t> order;    // rows sorted by group; empty when the rows already lie so
  std::vector<int64_t> offsets;  // (G + 1): group g owns order[offsets[g] .. offsets[g + 1])
  std::vector<int64_t> ids;      // (G): the group's id
};

// Rows of a group keep their order. Groups come in the order of their first row when `order` is
// empty, and in an arbitrary but reproducible order otherwise.
GroupLayout group_layout(const int64_t* ids, int64_t rows, const Parallel& parallel);

// Its two halves. Runs of equal ids, each a group: false when runs are no groups, or are hardly
// longer than a row; then `out` means nothing. Sets the range of `ids`, of at least one row.
bool find_runs(Ids& ids, const Parallel& parallel, GroupLayout& out);
GroupLayout scattered_layout(const Ids& ids, const Parallel& parallel);

}  // namespace percbal
