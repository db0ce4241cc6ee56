// Tags and checks shared by the test and the fuzz target of the text scorer.
#pragma once
#include "check.h"
#include "core/text/text_score.h"

inline const percbal::Tags& default_tags() {
  static const percbal::Tags tags{{{"<perception>", "</perception>"},
                                   {"<reasoning>", "</reasoning>"},
                                   {"<answer>", "</answer>"}}};
  return tags;
}

inline bool is_share(float v) { return v >= 0 && v <= 1; }

// What holds for every input there is.
inline void check_score(const percbal::TextScore& s, std::string_view text) {
  using percbal::SpanStatus;
  for (const percbal::Span& span : s.spans) {
    CHECK((span.status == SpanStatus::ok) == (span.begin >= 0));
    CHECK(span.begin <= span.end && span.end <= static_cast<int64_t>(text.size()));
  }
  const bool found = s.status == SpanStatus::ok || s.status == SpanStatus::malformed;
  CHECK(found == (s.spans[0].status == SpanStatus::ok));
  for (const float v : {s.exact, s.precision, s.recall, s.f1, s.edit_similarity})
    CHECK(found ? is_share(v) : v != v);
  if (s.exact == 1)
    CHECK(s.f1 == 1 && s.precision == 1 && s.recall == 1 && s.edit_similarity == 1 &&
          s.status == SpanStatus::ok);
}
