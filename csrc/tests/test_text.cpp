// Spans and grammars of the text scorer; scorers on several threads do not disturb one another.
#include <atomic>
#include <string>
#include <vector>

#include "text_case.h"
#include "threads.h"

using namespace percbal;

namespace {

TextScore score(Grammar grammar, std::string_view reference, std::string_view body) {
  TextScorer scorer(default_tags(), grammar, 0);
  CHECK(scorer.set_reference(reference));
  const std::string text = "<perception>" + std::string(body) + "</perception>";
  const TextScore out = scorer.score(text);
  check_score(out, text);
  return out;
}

void test_grammars() {
  CHECK(score(Grammar::grid, "r1c1=3 r1c2=_", "[[3, null]]").exact == 1);
  CHECK(score(Grammar::grid, "r1c1=3 r1c2=_", "r1c1=3").recall == 0.5f);
  CHECK(score(Grammar::grid, "[3, 0, 0, 1]", "[[3, null], [null, 1]]").exact == 1);
  CHECK(score(Grammar::grid, "[3]", "[3, 0]").status == SpanStatus::malformed);
  CHECK(score(Grammar::edges, "0-1 1-2", "[(2, 1), (1, 0)]").exact == 1);
  CHECK(score(Grammar::edges, "0-1", "{\"v\": 2, \"edges\": [[0, 1]]}").exact == 1);
  CHECK(score(Grammar::edges, "0-1 1-2", "0-1 1-2 ?").status == SpanStatus::malformed);
  CHECK(score(Grammar::numbers, "[1, 2]", "[1.0, 20e-1]").exact == 1);
  CHECK(score(Grammar::numbers, "{\"a\": [1]}", "{\"b\": [1]}").f1 == 0);
  CHECK(score(Grammar::text, "a b", " a  b ").exact == 1);
  CHECK(score(Grammar::text, "a b", "b a").exact == 0);
}

void test_references_outside_the_grammar_are_refused() {
  TextScorer scorer(default_tags(), Grammar::grid, 0);
  CHECK(!scorer.set_reference("r1c1"));
  CHECK(scorer.set_reference("r1c1=1"));
}

void test_interner_keeps_ids_apart_and_forgets_on_clear() {
  Interner base, more(&base);
  for (int i = 0; i < 1000; ++i) CHECK(base(std::to_string(i)) == i);
  for (int i = 0; i < 2000; ++i) CHECK(more(std::to_string(i)) == i);
  more.clear();
  CHECK(more("new") == 1000 && more("7") == 7 && more.size() == 1001);
}

void test_threads_do_not_share_state() {
  std::atomic<int> exact{0};
  threads(4)(64, [&](int64_t i) {
    TextScorer scorer(default_tags(), Grammar::grid, 0);
    for (int k = 0; k < 50; ++k) {
      CHECK(scorer.set_reference("r1c1=" + std::to_string(k)));
      const std::string text = "<perception>r1c1=" + std::to_string(i % 50) + "</perception>";
      exact += scorer.score(text).exact == 1;
    }
  });
  CHECK(exact == 64);
}

}  // namespace

int main() {
  test_grammars();
  test_references_outside_the_grammar_are_refused();
  test_interner_keeps_ids_apart_and_forgets_on_clear();
  test_threads_do_not_share_state();
}
