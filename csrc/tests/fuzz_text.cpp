// Fuzz target of the text scorer: any bytes as grammar, reference and completion.
//
// With Clang and -fsanitize=fuzzer (PERCBAL_LIBFUZZER) libFuzzer drives it. Without, main() makes
// inputs by mutating fuzz_seeds.txt: fuzz_text SEEDS_FILE COUNT RANDOM_SEED.
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "text_case.h"

using namespace percbal;

// One byte of grammar, then the reference up to the first newline, then the completion.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const Grammar grammar = static_cast<Grammar>(data[0] % 4);
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t line = std::min(rest.find('\n'), rest.size());
  const std::string_view completion = rest.substr(std::min(line + 1, rest.size()));
  TextScorer scorer(default_tags(), grammar, 0);
  if (!scorer.set_reference(rest.substr(0, line))) CHECK(scorer.set_reference(""));
  const TextScore first = scorer.score(completion);
  check_score(first, completion);
  const TextScore again = scorer.score(completion);  // nothing of a call reaches the next
  CHECK(std::memcmp(&first.exact, &again.exact, 5 * sizeof(float)) == 0);
  if (first.status == SpanStatus::ok) {  // a span is an exact match of itself
    const Span& span = first.spans[0];
    CHECK(scorer.set_reference(completion.substr(span.begin, span.end - span.begin)));
    CHECK(scorer.score(completion).exact == 1);
  }
  return 0;
}

#if !defined(PERCBAL_LIBFUZZER)

namespace {

std::string mutate(std::string text, const std::vector<std::string>& seeds, std::mt19937_64& rng) {
  const int changes = 1 + rng() % 6;
  for (int i = 0; i < changes; ++i) {
    const size_t at = rng() % (text.size() + 1), length = 1 + rng() % 12;
    const std::string& other = seeds[rng() % seeds.size()];
    const size_t from = rng() % other.size();
    switch (rng() % 5) {
      case 0: text.insert(at, 1, static_cast<char>(rng())); break;
      case 1: text.erase(at, length); break;
      case 2: text.insert(at, other.substr(from, length * 3)); break;
      case 3: text.insert(at, text.substr(at / 2, length)); break;
      default: if (at < text.size()) text[at] ^= static_cast<char>(1 << (rng() % 8));
    }
  }
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  CHECK(argc == 4);
  std::ifstream file(argv[1]);
  std::vector<std::string> seeds;
  for (std::string line; std::getline(file, line);) {
    for (char& c : line)
      if (c == '|') c = '\n';
    if (!line.empty()) seeds.push_back(line);
  }
  CHECK(!seeds.empty());
  std::mt19937_64 rng(std::stoull(argv[3]));
  std::vector<std::string> pool = seeds;  // mutants of mutants reach further
  const long long count = std::stoll(argv[2]);
  for (long long i = 0; i < count; ++i) {
    const std::string input = mutate(pool[rng() % pool.size()], seeds, rng);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
    if (rng() % 50 == 0 && input.size() < 4096 && !input.empty()) {
      if (pool.size() < 4096)
        pool.push_back(input);
      else
        pool[seeds.size() + rng() % (pool.size() - seeds.size())] = input;
    }
  }
  std::printf("%lld inputs, seed %s: clean\n", count, argv[3]);
}

#endif
