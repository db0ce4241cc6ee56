// How much the rollouts of a group say the same thing: similarity of ragged token sequences.
#pragma once
#include <cstdint>
#include <vector>

#include "core/simd/parallel.h"

namespace percbal {

enum class Agreement { edit, exact, multiset };

struct RaggedGroups {
  const int64_t* tokens;   // (N)
  const int64_t* offsets;  // (R + 1): rollout r holds tokens[offsets[r] .. offsets[r + 1])
  const int32_t* order;    // (R) rollouts by group, or null when they already lie so
  const int64_t* group;    // (G + 1)
  int64_t groups;
};

// out (R): mean similarity to the other rollouts of the group, NaN for a group of one (A1).
void group_agreement(const RaggedGroups& in, Agreement kind, float* out, const Parallel& parallel);

// Levenshtein distance of symbols numbered below `alphabet`: Myers' bit-vectors in Hyyrö's blocks.
// One instance per thread; it keeps its memory between calls.
class EditDistance {
 public:
  int64_t operator()(const int32_t* a, int64_t a_size, const int32_t* b, int64_t b_size,
                     int64_t alphabet);

 private:
  std::vector<uint64_t> match_;        // [symbol of the pattern][word]: where it occurs
  std::vector<int32_t> row_;           // alphabet -> row of match_; row 0 is "nowhere"
  std::vector<uint64_t> plus_, minus_; // vertical differences of the current column
};

}  // namespace percbal
