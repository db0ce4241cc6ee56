// Undirected edges: words such as 0-1, or pairs in brackets such as [[0, 1], [1, 2]] or (a, b),
// also within a graph such as {"v": 3, "c": 2, "edges": [[0, 1], [1, 2]]}.
#include <algorithm>
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

// A list in brackets with what it holds, lists too; empty where it is not closed.
std::string_view take_list(Cursor& cursor) {
  const size_t begin = cursor.at;
  int64_t depth = 0;
  if (cursor.peek() != '[') return {};
  for (; !cursor.done(); ++cursor.at) {
    const char c = cursor.peek();
    depth += (c == '[') - (c == ']');
    if (depth == 0) break;
  }
  if (!cursor.take(']')) return {};
  return cursor.text.substr(begin, cursor.at - begin);
}

// The edges of a graph with its numbers of vertices and colours, which are not compared; else the
// text as it is.
std::string_view edges_of_graph(std::string_view text) {
  Cursor cursor{text};
  cursor.skip_space();
  if (!cursor.take('{')) return text;
  std::string_view edges, seen[3];
  size_t n = 0;
  do {
    cursor.skip_space();
    if (n == 3 || !cursor.take('"')) return text;
    seen[n] = cursor.take_while([](char c) { return c != '"'; });
    if (std::find(seen, seen + n, seen[n]) != seen + n) return text;
    cursor.take('"');
    cursor.skip_space();
    if (!cursor.take(':')) return text;
    cursor.skip_space();
    if (seen[n] == "edges") {
      edges = take_list(cursor);
      if (edges.empty()) return text;
    } else if ((seen[n] != "v" && seen[n] != "c") || cursor.take_while(is_digit).empty()) {
      return text;
    }
    cursor.skip_space();
    ++n;
  } while (cursor.take(','));
  if (edges.empty() || !cursor.take('}')) return text;
  cursor.skip_space();
  return cursor.done() ? edges : text;
}

}  // namespace

void read_edges(std::string_view text, Interner& intern, Items& out) {
  Cursor cursor{edges_of_graph(text)};
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
