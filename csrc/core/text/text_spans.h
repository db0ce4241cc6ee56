// Finds the perception, reasoning and answer spans of an untrusted completion.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace percbal {

constexpr int kSpans = 3;  // perception, reasoning, answer

enum class SpanStatus : uint8_t {
  ok = 0,
  missing = 1,     // neither tag
  unclosed = 2,    // an opening tag alone
  unopened = 3,    // a closing tag alone
  repeated = 4,    // a tag of this span more than once
  nested = 5,      // another tag inside, or closed before it opens
  disordered = 6,  // the spans are not in the order perception, reasoning, answer
  malformed = 7    // found, but its text is not all in the grammar
};

struct Span {
  SpanStatus status = SpanStatus::missing;
  int64_t begin = -1, end = -1;  // bytes of the text between the tags; -1 unless ok
};

using Tags = std::array<std::array<std::string, 2>, kSpans>;  // opening, closing; none empty

// A span counts only if its two tags occur exactly once each, in order, with no tag in between: a
// second perception is not a correction but no perception. Time is linear in the text.
std::array<Span, kSpans> find_spans(std::string_view text, const Tags& tags);

}  // namespace percbal
