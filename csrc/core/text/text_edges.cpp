// Undirected edges: words such as 0-1, or pairs in brackets such as [[0, 1], [1, 2]] or (a, b).
#include <utility>

#include "core/text/text_items.h"

namespace percbal {
namespace {

bool is_label(char c) {
  return is_digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_open(char c) { return c == '[' || c == '(' || c == '{'; }
bool is_close(char c) { return c == ']' || c == ')' || c == '}'; }
char closing(char open) { return open == '(' ? ')' : open == '[' ? ']' : '}'; }
bool separates(char c) { return is_space(c) || c == ',' || c == ';'; }

bool read_label(Cursor& cursor, std::string_view& label) {
  label = cursor.take_while(is_label);
  if (label.empty() || label.size() > kMaxValue) return false;
  label = without_leading_zeros(label);
  return true;
}

bool read_quoted_label(Cursor& cursor, std::string_view& label) {
  const bool quoted = cursor.take('"');
  return read_label(cursor, label) && (!quoted || cursor.take('"'));
}

struct Edge {
  std::string_view a, b;
};

bool read_pair(Cursor& cursor, Edge& edge) {  // [a, b] with its brackets; moves only on success
  Cursor ahead = cursor;
  const char close = closing(ahead.peek());
  ++ahead.at;
  ahead.skip_space();
  if (!read_quoted_label(ahead, edge.a)) return false;
  ahead.skip_space();
  if (!ahead.take(',')) return false;
  ahead.skip_space();
  if (!read_quoted_label(ahead, edge.b)) return false;
  ahead.skip_space();
  if (!ahead.take(close)) return false;
  cursor = ahead;
  return true;
}

bool read_dashed(std::string_view word, Edge& edge) {  // a-b or "a-b"
  Cursor cursor{word};
  const bool quoted = cursor.take('"');
  return read_label(cursor, edge.a) && cursor.take('-') && read_label(cursor, edge.b) &&
         (!quoted || cursor.take('"')) && cursor.done();
}

}  // namespace

void read_edges(std::string_view text, Interner& intern, Items& out) {
  Cursor cursor{text};
  char outer = '\0';      // the bracket that would close the whole list
  bool started = false;   // past the place where the list may open
  bool ended = false;
  std::string key;
  const auto add = [&](Edge edge) {
    const auto before = [](std::string_view a, std::string_view b) {
      return a.size() != b.size() ? a.size() < b.size() : a < b;
    };
    if (before(edge.b, edge.a)) std::swap(edge.a, edge.b);
    key.assign(edge.a).append("-").append(edge.b);
    out.items.push_back(intern(key));
  };
  for (;;) {
    cursor.take_while(separates);
    if (cursor.done()) break;
    const char c = cursor.peek();
    Edge edge;
    if (ended) {  // anything after the list
      ++out.junk;
      break;
    }
    if (is_open(c)) {
      if (read_pair(cursor, edge)) {
        add(edge);
      } else {
        if (started)
          ++out.junk;
        else
          outer = closing(c);
        ++cursor.at;
      }
    } else if (is_close(c)) {
      if (c == outer)
        ended = true;
      else
        ++out.junk;
      ++cursor.at;
    } else {
      const std::string_view word = cursor.take_while(
          [](char ch) { return !separates(ch) && !is_open(ch) && !is_close(ch); });
      if (read_dashed(word, edge))
        add(edge);
      else
        ++out.junk;
    }
    started = true;
  }
  if (outer != '\0' && !ended) ++out.junk;
  out.sequence = out.items;
  keep_once(out.sequence, intern.size());  // the order in which edges are written means nothing
}

}  // namespace percbal
