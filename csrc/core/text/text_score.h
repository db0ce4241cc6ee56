// Scores one span of a completion against its reference.
#pragma once
#include <array>
#include <cstdint>
#include <string_view>

#include "core/agreement/agreement.h"
#include "core/text/text_items.h"
#include "core/text/text_spans.h"

namespace percbal {

struct TextScore {
  std::array<Span, kSpans> spans;
  SpanStatus status = SpanStatus::missing;  // of the scored span, `malformed` included
  // NaN unless the span was found
  float exact, precision, recall, f1, edit_similarity;
};

class TextScorer {  // one per thread
 public:
  TextScorer(const Tags& tags, Grammar grammar, int span)
      : tags_(tags), grammar_(grammar), span_(span) {}

  // False when the reference is not in the grammar: the caller's mistake.
  bool set_reference(std::string_view reference);
  TextScore score(std::string_view completion);

 private:
  void compare(std::string_view text, TextScore& out);
  int64_t count_shared();
  double edit_similarity();

  const Tags& tags_;
  const Grammar grammar_;
  const int span_;
  Interner known_;          // ids of the reference
  Interner seen_{&known_};  // and of the completion
  Items truth_, guess_;
  std::vector<int32_t> left_;  // id -> how often the reference has it unmatched
  EditDistance distance_;
};

}  // namespace percbal
