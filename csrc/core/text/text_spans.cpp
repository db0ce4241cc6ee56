#include "core/text/text_spans.h"

#include <algorithm>

namespace percbal {
namespace {

struct Found {
  int64_t count = 0, first = -1;
};

using FoundTags = std::array<std::array<Found, 2>, kSpans>;

// Where a tag may begin: usually they all share their first byte, which memchr finds fast.
class Starts {
 public:
  explicit Starts(const Tags& tags) {
    for (const auto& pair : tags)
      for (const std::string& tag : pair) set_[static_cast<uint8_t>(tag[0])] = true;
    shared_ = tags[0][0][0];
    single_ = std::count(set_.begin(), set_.end(), true) == 1;
  }
  size_t next(std::string_view text, size_t at) const {  // text.size() when there is none
    if (single_) return std::min(text.find(shared_, at), text.size());
    while (at < text.size() && !set_[static_cast<uint8_t>(text[at])]) ++at;
    return at;
  }

 private:
  std::array<bool, 256> set_{};
  char shared_;
  bool single_;
};

FoundTags find_tags(std::string_view text, const Tags& tags) {
  const Starts starts(tags);
  FoundTags found;
  for (size_t i = starts.next(text, 0); i < text.size(); i = starts.next(text, i + 1))
    for (int span = 0; span < kSpans; ++span)
      for (int side = 0; side < 2; ++side) {
        const std::string& tag = tags[span][side];
        if (text.compare(i, tag.size(), tag) != 0) continue;
        Found& f = found[span][side];
        if (f.count++ == 0) f.first = i;
      }
  return found;
}

Span classify(const std::array<Found, 2>& found, size_t opening_size) {
  const auto& [open, close] = found;
  Span span;
  if (open.count > 1 || close.count > 1) {
    span.status = SpanStatus::repeated;
  } else if (open.count == 0) {
    span.status = close.count ? SpanStatus::unopened : SpanStatus::missing;
  } else if (close.count == 0) {
    span.status = SpanStatus::unclosed;
  } else if (close.first < open.first + static_cast<int64_t>(opening_size)) {
    span.status = SpanStatus::nested;
  } else {
    span = {SpanStatus::ok, open.first + static_cast<int64_t>(opening_size), close.first};
  }
  return span;
}

bool holds_a_tag(std::string_view text, const Tags& tags) {
  for (const auto& pair : find_tags(text, tags))
    if (pair[0].count || pair[1].count) return true;
  return false;
}

}  // namespace

std::array<Span, kSpans> find_spans(std::string_view text, const Tags& tags) {
  const FoundTags found = find_tags(text, tags);
  std::array<Span, kSpans> spans;
  int64_t last = -1;
  bool ordered = true;
  for (int i = 0; i < kSpans; ++i) {
    Span& span = spans[i] = classify(found[i], tags[i][0].size());
    if (span.status != SpanStatus::ok) continue;
    ordered &= span.begin > last;
    last = span.begin;
    if (holds_a_tag(text.substr(span.begin, span.end - span.begin), tags))
      span = {SpanStatus::nested};
  }
  for (Span& span : spans)
    if (!ordered && span.status == SpanStatus::ok) span = {SpanStatus::disordered};
  return spans;
}

}  // namespace percbal
