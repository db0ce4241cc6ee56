// Bit-parallel edit distance against dynamic programming; agreement of groups on several threads.
#include <algorithm>
#include <random>
#include <vector>

#include "check.h"
#include "core/agreement/agreement.h"
#include "threads.h"

using namespace percbal;

namespace {

using Text = std::vector<int32_t>;

int64_t levenshtein(const Text& a, const Text& b) {
  std::vector<int64_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    int64_t before = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const int64_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, before + (a[i - 1] != b[j - 1])});
      before = above;
    }
  }
  return row.back();
}

Text random_text(std::mt19937_64& random, int64_t longest, int64_t alphabet) {
  Text out(random() % (longest + 1));
  for (int32_t& t : out) t = random() % alphabet;
  return out;
}

void test_distance_equals_dynamic_programming() {
  std::mt19937_64 random(1);
  EditDistance distance;  // one for all: what is left of a call must not reach the next
  for (int i = 0; i < 3000; ++i) {
    const int64_t alphabet = 1 + random() % 20, longest = i % 10 ? 70 : 300;
    Text a = random_text(random, longest, alphabet), b = random_text(random, longest, alphabet);
    if (i % 3 == 0) {  // alike, as rollouts of a group are
      b = a;
      for (size_t k = 0; k < b.size(); k += 9) b[k] = random() % alphabet;
    }
    CHECK(distance(a.data(), a.size(), b.data(), b.size(), alphabet) == levenshtein(a, b));
  }
}

void test_agreement_is_the_mean_over_the_others() {
  std::mt19937_64 random(2);
  const int64_t rollouts = 120, size = 4;
  std::vector<int64_t> tokens, offsets{0}, group;
  for (int64_t r = 0; r < rollouts; ++r) {
    for (const int32_t t : random_text(random, 90, 6)) tokens.push_back(t * 1'000'003ll);
    offsets.push_back(tokens.size());
    if (r % size == 0) group.push_back(r);
  }
  group.push_back(rollouts);
  const RaggedGroups in{tokens.data(), offsets.data(), nullptr, group.data(), rollouts / size};
  std::vector<float> one(rollouts), four(rollouts);
  group_agreement(in, Agreement::edit, one.data(), threads(1));
  group_agreement(in, Agreement::edit, four.data(), threads(4));
  CHECK(one == four);
  for (int64_t r = 0; r < rollouts; ++r) {
    const auto text = [&](int64_t k) {
      return Text(tokens.begin() + offsets[k], tokens.begin() + offsets[k + 1]);
    };
    double total = 0;
    for (int64_t k = r / size * size; k < r / size * size + size; ++k) {
      if (k == r) continue;
      const Text a = text(r), b = text(k);
      const double longest = std::max(a.size(), b.size());
      total += longest > 0 ? 1 - levenshtein(a, b) / longest : 1;
    }
    CHECK_CLOSE(one[r], total / (size - 1), 1e-6);
  }
}

}  // namespace

int main() {
  test_distance_equals_dynamic_programming();
  test_agreement_is_the_mean_over_the_others();
}
