// Grid: words such as r1c2=3, rows in brackets such as [[1, "-"], [null, 4]], or the cells of a
// square one after the other, such as [1, 0, 0, 4], where 0 is empty, too.
#include <algorithm>
#include <cstring>

#include "core/text/text_items.h"

namespace percbal {
namespace {

struct Cell {
  int64_t row, column;
  std::string_view value;
};

std::string_view canonical_value(std::string_view value) {
  if (value == "-" || value == "." || value.empty()) return "_";
  return without_leading_zeros(value);
}

bool read_index(Cursor& cursor, int64_t& out) {  // 1 to 4 digits
  const std::string_view digits = cursor.take_while(is_digit);
  if (digits.empty() || digits.size() > 4) return false;
  out = 0;
  for (const char c : digits) out = out * 10 + (c - '0');
  return true;
}

bool read_cell_word(std::string_view word, Cell& cell) {
  Cursor cursor{word};
  if (!cursor.take('r') || !read_index(cursor, cell.row) || !cursor.take('c') ||
      !read_index(cursor, cell.column) || !cursor.take('='))
    return false;
  cell.value = word.substr(cursor.at);
  if (cell.value.empty() || cell.value.size() > kMaxValue) return false;
  cell.value = canonical_value(cell.value);
  return true;
}

void read_cell_words(std::string_view text, std::vector<Cell>& cells, Items& out) {
  const auto separates = [](char c) { return is_space(c) || c == ',' || c == ';'; };
  Cursor cursor{text};
  for (;;) {
    cursor.take_while(separates);
    if (cursor.done()) return;
    const std::string_view word = cursor.take_while([&](char c) { return !separates(c); });
    Cell cell;
    if (read_cell_word(word, cell))
      cells.push_back(cell);
    else
      ++out.junk;
  }
}

// One cell of a bracketed row, spaces around it included.
bool read_value(Cursor& cursor, std::string_view& value) {
  cursor.skip_space();
  if (cursor.take('"')) {
    value = cursor.take_while([](char c) { return c != '"'; });
    if (!cursor.take('"')) return false;
  } else {
    value = cursor.take_while(
        [](char c) { return !is_space(c) && c != ',' && c != '[' && c != ']' && c != '"'; });
    if (value.empty()) return false;
    if (value == "null") value = "_";
  }
  cursor.skip_space();
  value = canonical_value(value);
  return value.size() <= kMaxValue;
}

bool read_row(Cursor& cursor, int64_t row, std::vector<Cell>& cells) {
  cursor.skip_space();
  if (!cursor.take('[')) return false;
  int64_t column = 1;
  do {
    Cell cell{row, column++, {}};
    if (!read_value(cursor, cell.value)) return false;
    cells.push_back(cell);
  } while (cursor.take(','));
  if (!cursor.take(']')) return false;
  cursor.skip_space();
  return true;
}

bool read_rows(std::string_view text, std::vector<Cell>& cells) {
  Cursor cursor{text};
  cursor.skip_space();
  if (!cursor.take('[')) return false;
  int64_t row = 1;
  do {
    if (!read_row(cursor, row++, cells)) return false;
  } while (cursor.take(','));
  if (!cursor.take(']')) return false;
  cursor.skip_space();
  return cursor.done();
}

// All cells of a square in one list; without the last of them none has a place.
bool read_square(std::string_view text, std::vector<Cell>& cells) {
  Cursor cursor{text};
  cursor.skip_space();
  cursor.take('[');
  std::vector<std::string_view> values;
  do {
    std::string_view value;
    if (!read_value(cursor, value)) return false;
    values.push_back(value == "0" ? "_" : value);
  } while (cursor.take(','));
  if (!cursor.take(']')) return false;
  cursor.skip_space();
  size_t size = 1;
  while (size * size < values.size()) ++size;
  if (!cursor.done() || size * size != values.size()) return false;
  for (size_t i = 0; i < values.size(); ++i)
    cells.push_back(
        {static_cast<int64_t>(i / size + 1), static_cast<int64_t>(i % size + 1), values[i]});
  return true;
}

bool has_rows(Cursor cursor) {  // from the first bracket on: another one follows
  ++cursor.at;
  cursor.skip_space();
  return cursor.done() || cursor.peek() == '[';
}

}  // namespace

void read_grid(std::string_view text, Interner& intern, Items& out) {
  Cursor start{text};
  start.skip_space();
  std::vector<Cell> cells;
  if (start.peek() == '[') {
    // what follows an error is not read
    if (!(has_rows(start) ? read_rows(text, cells) : read_square(text, cells))) ++out.junk;
  } else {
    read_cell_words(text, cells, out);
  }
  char key[2 * sizeof(int32_t) + kMaxValue];
  for (const Cell& cell : cells) {
    const int32_t place[2] = {static_cast<int32_t>(cell.row), static_cast<int32_t>(cell.column)};
    std::memcpy(key, place, sizeof(place));
    std::memcpy(key + sizeof(place), cell.value.data(), cell.value.size());
    out.items.push_back(intern({key, sizeof(place) + cell.value.size()}));
  }
  // values in reading order: a skipped cell shifts the rest by one, and costs one edit
  const auto before = [](const Cell& a, const Cell& b) {
    return a.row != b.row ? a.row < b.row : a.column < b.column;
  };
  if (!std::is_sorted(cells.begin(), cells.end(), before))
    std::stable_sort(cells.begin(), cells.end(), before);
  for (const Cell& cell : cells) out.sequence.push_back(intern(cell.value));
}

}  // namespace percbal
