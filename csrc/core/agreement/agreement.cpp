#include "core/agreement/agreement.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/coupling/numbering.h"

namespace percbal {

int64_t EditDistance::operator()(const int32_t* a, int64_t a_size, const int32_t* b, int64_t b_size,
                                 int64_t alphabet) {
  while (a_size > 0 && b_size > 0 && *a == *b) ++a, ++b, --a_size, --b_size;
  while (a_size > 0 && b_size > 0 && a[a_size - 1] == b[b_size - 1]) --a_size, --b_size;
  if (a_size > b_size) std::swap(a, b), std::swap(a_size, b_size);  // a, the pattern, is shorter
  if (a_size == 0) return b_size;
  const int64_t words = (a_size + 63) / 64;
  if (row_.size() < static_cast<size_t>(alphabet)) row_.resize(alphabet, 0);
  match_.assign(words, 0);
  for (int64_t i = 0; i < a_size; ++i) {
    int32_t& row = row_[a[i]];
    if (row == 0) {
      row = static_cast<int32_t>(match_.size() / words);
      match_.resize(match_.size() + words, 0);
    }
    match_[row * words + i / 64] |= uint64_t{1} << (i % 64);
  }
  plus_.assign(words, ~uint64_t{0});
  minus_.assign(words, 0);
  const int last_bit = (a_size - 1) % 64;
  int64_t distance = a_size;
  for (int64_t j = 0; j < b_size; ++j) {
    const uint64_t* match = &match_[row_[b[j]] * words];
    uint64_t carry_plus = 1, carry_minus = 0;  // the first row of the matrix grows by one
    uint64_t horizontal_plus = 0, horizontal_minus = 0;
    for (int64_t w = 0; w < words; ++w) {
      const uint64_t plus = plus_[w], minus = minus_[w];
      const uint64_t x = match[w] | carry_minus;
      const uint64_t diagonal = (((x & plus) + plus) ^ plus) | x | minus;
      horizontal_plus = minus | ~(diagonal | plus);
      horizontal_minus = diagonal & plus;
      const uint64_t shifted_plus = (horizontal_plus << 1) | carry_plus;
      const uint64_t shifted_minus = (horizontal_minus << 1) | carry_minus;
      carry_plus = horizontal_plus >> 63;
      carry_minus = horizontal_minus >> 63;
      plus_[w] = shifted_minus | ~(diagonal | shifted_plus);
      minus_[w] = diagonal & shifted_plus;
    }
    distance += (horizontal_plus >> last_bit) & 1;
    distance -= (horizontal_minus >> last_bit) & 1;
  }
  for (int64_t i = 0; i < a_size; ++i) row_[a[i]] = 0;
  return distance;
}

namespace {

// The rollouts of one group with their tokens renumbered 0, 1, ... so that tables stay small.
struct Members {
  std::vector<int32_t> symbols;
  std::vector<int64_t> start;  // (n + 1)
  int64_t alphabet;

  Members(const RaggedGroups& in, int64_t begin, int64_t end) : start{0} {
    int64_t total = 0;
    for (int64_t m = begin; m < end; ++m) total += size_of(in, m);
    Numbering number(total);
    std::vector<int64_t> seen;
    for (int64_t m = begin; m < end; ++m) {
      const int64_t r = in.order ? in.order[m] : m;
      for (int64_t t = in.offsets[r]; t < in.offsets[r + 1]; ++t)
        symbols.push_back(number(in.tokens[t], seen));
      start.push_back(symbols.size());
    }
    alphabet = seen.size();
  }
  static int64_t size_of(const RaggedGroups& in, int64_t m) {
    const int64_t r = in.order ? in.order[m] : m;
    return in.offsets[r + 1] - in.offsets[r];
  }
  const int32_t* of(int64_t i) const { return symbols.data() + start[i]; }
  int64_t size(int64_t i) const { return start[i + 1] - start[i]; }
};

struct Similarity {
  const Members& members;
  EditDistance distance;

  double edit(int64_t i, int64_t j) {  // (A2)
    const int64_t longest = std::max(members.size(i), members.size(j));
    if (longest == 0) return 1;
    const int64_t d = distance(members.of(i), members.size(i), members.of(j), members.size(j),
                               members.alphabet);
    return 1 - static_cast<double>(d) / longest;
  }
  double exact(int64_t i, int64_t j) {  // (A3)
    return members.size(i) == members.size(j) &&
           std::equal(members.of(i), members.of(i) + members.size(i), members.of(j));
  }
  double multiset(int64_t i, int64_t j) {  // (A4), over members whose symbols are sorted
    const int64_t both = members.size(i) + members.size(j);
    if (both == 0) return 1;
    const int32_t *a = members.of(i), *b = members.of(j);
    const int32_t *a_end = a + members.size(i), *b_end = b + members.size(j);
    int64_t shared = 0;
    while (a < a_end && b < b_end) {
      shared += *a == *b;
      const bool step_a = *a <= *b, step_b = *b <= *a;
      a += step_a;
      b += step_b;
    }
    return 2.0 * shared / both;
  }
};

}  // namespace

void group_agreement(const RaggedGroups& in, Agreement kind, float* out, const Parallel& parallel) {
  parallel(in.groups, [&](int64_t g) {
    const int64_t begin = in.group[g], n = in.group[g + 1] - begin;
    if (n == 0) return;
    Members members(in, begin, begin + n);
    if (kind == Agreement::multiset)
      for (int64_t i = 0; i < n; ++i)
        std::sort(members.symbols.begin() + members.start[i],
                  members.symbols.begin() + members.start[i + 1]);
    Similarity similarity{members, {}};
    std::vector<double> total(n, 0);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = i + 1; j < n; ++j) {
        const double s = kind == Agreement::edit    ? similarity.edit(i, j)
                         : kind == Agreement::exact ? similarity.exact(i, j)
                                                    : similarity.multiset(i, j);
        total[i] += s;
        total[j] += s;
      }
    for (int64_t i = 0; i < n; ++i) {
      const int64_t r = in.order ? in.order[begin + i] : begin + i;
      out[r] = n > 1 ? static_cast<float>(total[i] / (n - 1))
                     : std::numeric_limits<float>::quiet_NaN();
    }
  });
}

}  // namespace percbal
