// The numbers of reward coupling from its sums: quantiles against SciPy's, one batch by hand.
#include "core/coupling/coupling_summary.h"

#include <vector>

#include "check.h"
#include "core/coupling/coupling_stats.h"
#include "threads.h"

using namespace percbal;

namespace {

void check_quantiles() {
  const struct {
    int64_t df;
    double tail, expected;  // scipy.stats.t.isf(tail, df)
  } known[] = {{1, 0.025, 12.706204736174705},  {2, 0.025, 4.302652729749464},
               {3, 0.025, 3.1824463052837086},  {3, 5e-7, 130.15458955835794},
               {3, 5e-10, 1301.6371672916928},  {7, 5e-7, 15.767009437482583},
               {30, 0.1, 1.3104150253913955},   {1000, 0.0005, 3.3002826484239134},
               {5000, 0.025, 1.9604385517065075}};
  for (const auto& k : known) CHECK_CLOSE(t_quantile(k.tail, k.df), k.expected, 1e-6);
}

// Three groups of four; every success has right perception, so that r is its echo (C7).
void check_batch() {
  const std::vector<double> outcome = {1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0};
  const std::vector<double> perception = {1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 0, 1};
  const std::vector<int64_t> offsets = {0, 4, 8, 12};
  const Rollouts<double> in{outcome.data(), 1, {perception.data(), nullptr}, 1, nullptr,
                            offsets.data(), 12, 3};
  const double origin = 0.5;
  std::vector<double> pair(kPairFields), signal(kSignalFields);
  coupling_stats(in, {&origin, &origin, 1e-4, 1.0}, pair.data(), signal.data(), threads(1));
  std::vector<double> numbers(kPairNumbers), seen(kSignalNumbers);
  coupling_summary(pair.data(), signal.data(), &origin, &origin, 1, 1, 0.95, numbers.data(),
                   seen.data());
  const double a = 3.0 / 12, p = 7.0 / 12, r = std::sqrt(a * (1 - p) / (p * (1 - a)));
  CHECK_CLOSE(numbers[kPooled], r, 1e-12);
  CHECK_CLOSE(numbers[kPooled + 5], r, 1e-12);
  CHECK(numbers[kPooled + 1] < r && r < numbers[kPooled + 2]);
  CHECK(numbers[kPooled + 3] == 12 && numbers[kPooled + 4] == 3);
  // within: sums of xx 0.75 + 1, of xy 0.5 + 0.5, of yy 1 + 0.75 + 1
  CHECK_CLOSE(numbers[kWithinGroups], 1 / std::sqrt(1.75 * 2.75), 1e-12);
  CHECK_CLOSE(numbers[kOutcomeMean], a, 1e-12);
  CHECK_CLOSE(numbers[kTargetMean], p, 1e-12);
  CHECK_CLOSE(numbers[kWrongSuccess], 0, 1e-12);
  CHECK_CLOSE(numbers[kEchoRatio], 1, 1e-12);
  CHECK_CLOSE(seen[kConflictRate], 2.0 / 8, 1e-12);  // right, and yet below the group's mean
  CHECK_CLOSE(seen[kPraisedWrong], 0, 1e-12);
  CHECK_CLOSE(seen[kBlamedRight], 2.0 / 7, 1e-12);
  CHECK_CLOSE(seen[kSilentShare], 1.0 / 3, 1e-12);
  CHECK_CLOSE(seen[kShareRightCentred] + seen[kShareWrongCentred], 1, 1e-12);
}

}  // namespace

int main() {
  check_quantiles();
  check_batch();
}
