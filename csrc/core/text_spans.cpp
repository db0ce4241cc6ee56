#include "core/text_spans.h"

namespace percbal {
namespace {

struct Found {
  int64_t count = 0, first = -1;
};

using FoundTags = std::array<std::array<Found, 2>, kSpans>;

FoundTags find_tags(std::string_view text, const Tags& tags) {
  std::array<bool, 256> starts_tag{};
  for (const auto& pair : tags)
    for (const std::string& tag : pair) starts_tag[static_cast<uint8_t>(tag[0])] = true;
  FoundTags found;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!starts_tag[static_cast<uint8_t>(text[i])]) continue;
    for (int span = 0; span < kSpans; ++span)
      for (int side = 0; side < 2; ++side) {
        const std::string& tag = tags[span][side];
        if (text.compare(i, tag.size(), tag) != 0) continue;
        Found& f = found[span][side];
        if (f.count++ == 0) f.first = i;
      }
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
