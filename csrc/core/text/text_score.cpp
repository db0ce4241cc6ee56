#include "core/text/text_score.h"

#include <algorithm>
#include <limits>

namespace percbal {
namespace {

constexpr float kNotScored = std::numeric_limits<float>::quiet_NaN();
constexpr size_t kMaxText = size_t{1} << 30;  // ids are 32-bit: a longer span is not read

}  // namespace

bool TextScorer::set_reference(std::string_view reference) {
  known_.clear();
  if (reference.size() > kMaxText) return false;
  read_items(reference, grammar_, known_, truth_);
  if (is_set(grammar_)) keep_once(truth_.items, known_.size());
  return truth_.junk == 0;
}

TextScore TextScorer::score(std::string_view completion) {
  TextScore out;
  out.spans = find_spans(completion, tags_);
  const Span& span = out.spans[span_];
  out.status = span.status;
  out.exact = out.precision = out.recall = out.f1 = out.edit_similarity = kNotScored;
  if (span.status == SpanStatus::ok)
    compare(completion.substr(span.begin, span.end - span.begin), out);
  return out;
}

void TextScorer::compare(std::string_view text, TextScore& out) {
  seen_.clear();
  guess_.clear();
  if (text.size() > kMaxText)
    ++guess_.junk;
  else
    read_items(text, grammar_, seen_, guess_);
  if (is_set(grammar_)) keep_once(guess_.items, seen_.size());
  if (guess_.junk) out.status = SpanStatus::malformed;

  const int64_t shared = count_shared();
  const int64_t guessed = guess_.items.size() + guess_.junk, wanted = truth_.items.size();
  const bool in_order = is_set(grammar_) || guess_.items == truth_.items;
  const bool exact = shared == guessed && shared == wanted && in_order;
  out.exact = exact;
  out.precision = guessed ? static_cast<float>(shared) / guessed : wanted == 0;
  out.recall = wanted ? static_cast<float>(shared) / wanted : guessed == 0;
  out.f1 = guessed + wanted ? 2.0f * shared / (guessed + wanted) : 1;
  out.edit_similarity = exact ? 1 : static_cast<float>(edit_similarity());
}

int64_t TextScorer::count_shared() {
  left_.assign(known_.size(), 0);
  for (const int32_t id : truth_.items) ++left_[id];
  int64_t shared = 0;
  for (const int32_t id : guess_.items)
    if (id < known_.size() && left_[id] > 0) {
      --left_[id];
      ++shared;
    }
  return shared;
}

double TextScorer::edit_similarity() {
  const int32_t none = seen_.size();  // a symbol of its own for what is outside the grammar
  guess_.sequence.insert(guess_.sequence.end(), guess_.junk, none);
  const int64_t longest = std::max(guess_.sequence.size(), truth_.sequence.size());
  if (longest == 0) return 1;
  const int64_t d =
      distance_(truth_.sequence.data(), truth_.sequence.size(), guess_.sequence.data(),
                guess_.sequence.size(), none + 1);
  return 1 - static_cast<double>(d) / longest;
}

}  // namespace percbal
