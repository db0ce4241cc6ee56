// Layouts and sums of reward coupling against plain loops, with one thread and with four; and the sums
// in eight lanes, as AVX-512 makes them, on any processor with AVX2: the compiler splits the vectors.
#if defined(__x86_64__)
#define PERCBAL_LEVEL eight
#define PERCBAL_VECTOR_BYTES 64
#define PERCBAL_TARGET_BYTES 32
#endif
#include "core/coupling/coupling_chunk.h"

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <vector>

#include "check.h"
#include "core/coupling/coupling_layout.h"
#include "threads.h"

using namespace percbal;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// factor 1: a compact range; a large one: ids anywhere.
std::vector<int64_t> ids(int64_t rows, int64_t groups, bool scattered, uint64_t factor,
                         std::mt19937_64& random) {
  std::vector<int64_t> out(rows);
  for (int64_t i = 0; i < rows; ++i)
    out[i] = static_cast<int64_t>((scattered ? random() % groups : i * groups / rows) * factor);
  return out;
}

void check_layout(const std::vector<int64_t>& group, const GroupLayout& layout) {
  std::map<int64_t, std::vector<int64_t>> expected;
  for (size_t i = 0; i < group.size(); ++i) expected[group[i]].push_back(i);
  CHECK(layout.ids.size() == expected.size());
  CHECK(layout.offsets.size() == expected.size() + 1);
  CHECK(layout.offsets.back() == static_cast<int64_t>(group.size()));
  for (size_t g = 0; g < layout.ids.size(); ++g) {
    const std::vector<int64_t>& rows = expected.at(layout.ids[g]);
    CHECK(layout.offsets[g + 1] - layout.offsets[g] == static_cast<int64_t>(rows.size()));
    for (size_t k = 0; k < rows.size(); ++k) {
      const int64_t at = layout.offsets[g] + k;
      CHECK((layout.order.empty() ? at : layout.order[at]) == rows[k]);
    }
  }
}

template <class T>
struct Data {
  std::vector<T> outcome, perception, reasoning;
  std::vector<int64_t> group;
  int64_t candidates;

  // binary: outcome and perception hold nothing but 0 and 1, every other time NaN too
  Data(int64_t rows, int64_t groups, int64_t c, bool scattered, uint64_t factor, bool binary,
       std::mt19937_64& random)
      : outcome(rows * c), perception(rows), reasoning(rows),
        group(ids(rows, groups, scattered, factor, random)), candidates(c) {
    const auto fill = [&](std::vector<T>& column, int levels, bool missing) {
      for (T& v : column)
        v = missing && random() % 10 == 0 ? static_cast<T>(kNaN)
                               : static_cast<T>(random() % levels) / (levels - 1);
    };
    const bool missing = !binary || random() % 2 == 0;
    fill(outcome, binary ? 2 : 5, missing);
    fill(perception, 2, missing);
    fill(reasoning, binary && random() % 2 ? 2 : 3, random() % 2 == 0);
  }
  Rollouts<T> view(const GroupLayout& layout) const {
    return {outcome.data(),
            candidates,
            {perception.data(), reasoning.data()},
            2,
            layout.order.empty() ? nullptr : layout.order.data(),
            layout.offsets.data(),
            static_cast<int64_t>(perception.size()),
            static_cast<int64_t>(layout.ids.size())};
  }
};

// Within-group sums, counts and centred mass of candidate c against target t, group by group.
template <class T>
void check_sums(const Data<T>& data, const std::vector<T>& target, int64_t c, double origin,
                const double* pair, const double* signal) {
  std::map<int64_t, std::vector<int64_t>> groups;
  for (size_t i = 0; i < data.group.size(); ++i) groups[data.group[i]].push_back(i);
  double n = 0, sum_x = 0, wxx = 0, wxy = 0, wyy = 0, mass = 0, known = 0;
  for (const auto& [id, rows] : groups) {
    double k = 0, mx = 0, my = 0, scored = 0, mean = 0;
    const auto x = [&](int64_t r) { return double(data.outcome[r * data.candidates + c]); };
    for (const int64_t r : rows) {
      const double y = target[r];
      if (x(r) == x(r)) ++scored, mean += x(r);
      if (x(r) == x(r) && y == y) ++k, mx += x(r), my += y;
    }
    n += k;
    sum_x += mx;
    for (const int64_t r : rows) {
      const double y = target[r], p = data.perception[r];
      if (x(r) == x(r) && y == y) {
        wxx += (x(r) - mx / k) * (x(r) - mx / k);
        wxy += (x(r) - mx / k) * (y - my / k);
        wyy += (y - my / k) * (y - my / k);
      }
      if (x(r) == x(r) && p == p) mass += std::fabs(x(r) - mean / scored), ++known;
    }
  }
  CHECK_CLOSE(pair[kCount], n, 1e-12);
  CHECK_CLOSE(pair[kCount + 1], sum_x - n * origin, 1e-6);
  CHECK_CLOSE(pair[kWithin], wxx, 1e-6);
  CHECK_CLOSE(pair[kWithin + 1], wxy, 1e-6);
  CHECK_CLOSE(pair[kWithin + 2], wyy, 1e-6);
  CHECK_CLOSE(signal[kKnown], known, 1e-12);
  double ours = 0;
  for (int k = 0; k < 4; ++k) ours += signal[kMassCentred + k];
  CHECK_CLOSE(ours, mass, 1e-5);
}

// The sums in this file's own lanes beside those of the best instructions of this processor.
template <class T>
void check_lanes(const Rollouts<T>& in, const CouplingOptions& options,
                 const std::vector<double>& pair, const std::vector<double>& signal) {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2")) return;
#endif
  const int64_t fields = 2 * kPairFields + kSignalFields;
  std::vector<double> lanes(in.candidates * fields * kAccStride);
  add_chunk(in, options, 0, in.groups, lanes.data());
  for (int64_t c = 0; c < in.candidates; ++c)
    for (int64_t f = 0; f < fields; ++f) {
      double sum = 0;
      for (int l = 0; l < kAccStride; ++l) sum += lanes[(c * fields + f) * kAccStride + l];
      const int64_t t = f / kPairFields;
      CHECK_CLOSE(sum,
                  t < 2 ? pair[(t * in.candidates + c) * kPairFields + f % kPairFields]
                        : signal[c * kSignalFields + f - 2 * kPairFields],
                  1e-9);
    }
}

template <class T>
void check_data(int64_t rows, int64_t groups, int64_t c, bool scattered, uint64_t factor,
                bool binary, std::mt19937_64& random) {
  const Data<T> data(rows, groups, c, scattered, factor, binary, random);
  const std::vector<double> origin(c, 0.3), origin_target(2, 0.0);
  const CouplingOptions options{origin.data(), origin_target.data(), 1e-4, 1.0};
  std::vector<double> first, first_signal, first_by_id, first_signal_by_id;
  for (const int count : {1, 4}) {
    const GroupLayout layout = group_layout(data.group.data(), rows, threads(count));
    check_layout(data.group, layout);
    std::vector<double> pair(2 * c * kPairFields), signal(c * kSignalFields);
    coupling_stats(data.view(layout), options, pair.data(), signal.data(), threads(count));
    for (int64_t k = 0; k < c; ++k) {
      const double* s = &signal[k * kSignalFields];
      check_sums(data, data.perception, k, origin[k], &pair[k * kPairFields], s);
      check_sums(data, data.reasoning, k, origin[k], &pair[(c + k) * kPairFields], s);
    }
    if (first.empty()) {
      first = pair;
      first_signal = signal;
      Rollouts<T> view = data.view(layout);
      check_lanes(view, options, pair, signal);
      if (!scattered && rows > 0 && rows % view.groups == 0) {  // as the layout that needs no offsets
        view.offsets = nullptr;
        view.length = rows / view.groups;
        check_lanes(view, options, pair, signal);
      }
    }
    CHECK(first == pair && first_signal == signal);  // bit for bit, whatever the threads
    Rollouts<T> unsorted = data.view(layout);
    unsorted.order = nullptr;
    unsorted.offsets = nullptr;
    coupling_stats_by_id(unsorted, data.group.data(), options, pair.data(), signal.data(),
                         threads(count));
    for (int64_t k = 0; k < c; ++k) {
      const double* s = &signal[k * kSignalFields];
      check_sums(data, data.perception, k, origin[k], &pair[k * kPairFields], s);
      check_sums(data, data.reasoning, k, origin[k], &pair[(c + k) * kPairFields], s);
    }
    if (first_by_id.empty()) {
      first_by_id = pair;
      first_signal_by_id = signal;
    }
    CHECK(first_by_id == pair && first_signal_by_id == signal);
    std::vector<double> correlation(2 * c * layout.ids.size());
    std::vector<int64_t> counts(correlation.size());
    group_coupling(data.view(layout), correlation.data(), counts.data(), threads(count));
    for (const double r : correlation) CHECK(!(std::fabs(r) > 1));
    std::vector<T> scaled(rows * c), centred(rows * c);
    group_advantage(data.view(layout), 1e-4, scaled.data(), centred.data(), threads(count));
    for (int64_t i = 0; i < rows * c; ++i)
      CHECK((data.outcome[i] == data.outcome[i]) == (scaled[i] == scaled[i]));
  }
}

void check_groups_without_rows() {  // of an empty batch, whose pointers are null
  const std::vector<int64_t> offsets(20, 0);
  const Rollouts<float> in{nullptr, 1, {nullptr, nullptr}, 2, nullptr, offsets.data(), 0, 19};
  const double origin[2] = {};
  std::vector<double> pair(2 * kPairFields, 7), signal(kSignalFields, 7);
  coupling_stats(in, {origin, origin, 1e-4, 1.0}, pair.data(), signal.data(), threads(1));
  for (const std::vector<double>& sums : {pair, signal})
    for (const double sum : sums) CHECK(sum == 0);
}

}  // namespace

int main() {
  std::mt19937_64 random(1);
  const uint64_t far = 0x123456789abcdull;
  for (const uint64_t factor : {uint64_t{1}, far})
    for (const bool scattered : {false, true})
      for (const bool binary : {false, true})
        // among them groups of 57 and 58, 63 and 64, 65 and 66 rows
        for (const int64_t groups : {1, 2, 9, 46, 47, 52, 60, 300, 3000}) {
          check_data<float>(3000, groups, 1, scattered, factor, binary, random);
          check_data<float>(3001, groups, 1, scattered, factor, binary, random);
          check_data<double>(3001, groups, 3, scattered, factor, binary, random);
        }
  check_data<float>(150'000, 10'000, 1, true, 1, true, random);
  check_data<double>(150'000, 10'000, 1, true, far, false, random);
  check_data<float>(40'000, 10, 1, false, 1, false, random);  // groups too long for the lanes
  check_data<float>(200'000, 12'500, 1, false, 1, true, random);  // several chunks of equal runs
  check_data<float>(0, 1, 1, false, 1, false, random);
  check_groups_without_rows();
  check_data<float>(1, 1, 1, false, 1, true, random);
}
