// JSON: every leaf with its path is an item. Numbers are equal when their float64 values are.
#include <charconv>
#include <string>
#include <system_error>

#include "core/text/text_items.h"

namespace percbal {
namespace {

constexpr size_t kMaxDepth = 256;

struct Level {
  int32_t path;   // interned id of the container's path
  int64_t index;  // of the next element; -1 in an object
};

bool skip_digits(Cursor& cursor) { return !cursor.take_while(is_digit).empty(); }

bool read_number(Cursor& cursor, double& value) {  // the JSON grammar, not strtod's
  const size_t begin = cursor.at;
  cursor.take('-');
  if (!cursor.take('0') && !skip_digits(cursor)) return false;
  if (cursor.take('.') && !skip_digits(cursor)) return false;
  if (cursor.peek() == 'e' || cursor.peek() == 'E') {
    ++cursor.at;
    if (!cursor.take('+')) cursor.take('-');
    if (!skip_digits(cursor)) return false;
  }
  const char* first = cursor.text.data() + begin;
  const std::errc error = std::from_chars(first, cursor.text.data() + cursor.at, value).ec;
  if (error != std::errc()) return false;  // beyond float64
  value += 0.0;                            // -0 equals 0
  return true;
}

bool read_string(Cursor& cursor, std::string_view& raw) {  // escapes stay as they are written
  if (!cursor.take('"')) return false;
  const size_t begin = cursor.at;
  while (!cursor.done() && cursor.peek() != '"') cursor.at += cursor.peek() == '\\' ? 2 : 1;
  if (cursor.done()) return false;
  raw = cursor.text.substr(begin, cursor.at - begin);
  ++cursor.at;
  return true;
}

class Reader {
 public:
  Reader(std::string_view text, Interner& intern, Items& out)
      : cursor_{text}, intern_(intern), out_(out) {}

  bool read() {
    int32_t path = name('$', 0, {});
    for (;;) {  // one value at `path`
      cursor_.skip_space();
      const char c = cursor_.peek();
      if (c == '[' || c == '{') {
        if (levels_.size() == kMaxDepth) return false;
        ++cursor_.at;
        levels_.push_back({path, c == '[' ? 0 : -1});
        cursor_.skip_space();
        if (!cursor_.take(c == '[' ? ']' : '}')) {
          if (!enter(path)) return false;
          continue;
        }
        levels_.pop_back();
      } else if (!read_leaf(path)) {
        return false;
      }
      while (!levels_.empty()) {  // after a value: a comma and the next, or the end of containers
        cursor_.skip_space();
        if (cursor_.take(',')) break;
        if (!cursor_.take(levels_.back().index < 0 ? '}' : ']')) return false;
        levels_.pop_back();
      }
      if (levels_.empty()) break;
      if (!enter(path)) return false;
    }
    cursor_.skip_space();
    return cursor_.done();
  }

 private:
  int32_t name(char kind, int64_t parent, std::string_view rest) {
    key_.assign(1, kind);
    key_.append(reinterpret_cast<const char*>(&parent), sizeof(parent)).append(rest);
    return intern_(key_);
  }

  bool enter(int32_t& path) {  // the path of the innermost container's next value
    Level& level = levels_.back();
    if (level.index >= 0) {
      const int64_t index = level.index++;
      path = name('[', level.path, {reinterpret_cast<const char*>(&index), sizeof(index)});
      return true;
    }
    std::string_view key;
    cursor_.skip_space();
    if (!read_string(cursor_, key)) return false;
    cursor_.skip_space();
    if (!cursor_.take(':')) return false;
    path = name('.', level.path, key);
    return true;
  }

  bool read_leaf(int32_t path) {
    int32_t value;
    const char c = cursor_.peek();
    if (c == '-' || is_digit(c)) {
      double number;
      if (!read_number(cursor_, number)) return false;
      value = name('n', 0, {reinterpret_cast<const char*>(&number), sizeof(number)});
    } else if (c == '"') {
      std::string_view raw;
      if (!read_string(cursor_, raw)) return false;
      value = name('s', 0, raw);
    } else {
      const std::string_view word =
          cursor_.take_while([](char ch) { return ch >= 'a' && ch <= 'z'; });
      if (word != "true" && word != "false" && word != "null") return false;
      value = name('w', 0, word);
    }
    out_.sequence.push_back(value);
    out_.items.push_back(
        name('=', path, {reinterpret_cast<const char*>(&value), sizeof(value)}));
    return true;
  }

  Cursor cursor_;
  Interner& intern_;
  Items& out_;
  std::vector<Level> levels_;
  std::string key_;
};

}  // namespace

void read_numbers(std::string_view text, Interner& intern, Items& out) {
  Cursor start{text};
  start.skip_space();
  if (start.done()) return;  // nothing perceived is an empty list, not an error
  if (!Reader(text, intern, out).read()) ++out.junk;  // what follows the error is not read
}

}  // namespace percbal
