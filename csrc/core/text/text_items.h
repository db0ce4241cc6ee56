// Reads a span by its grammar into items that can be compared: cells, edges, JSON leaves, words.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace percbal {

enum class Grammar { grid, edges, numbers, text };

// Numbers byte strings 0, 1, 2, ... Ids of `base`, if given, come first and keep their numbers.
class Interner {
 public:
  explicit Interner(const Interner* base = nullptr) : base_(base), slots_(16) {}
  void clear();
  int32_t operator()(std::string_view bytes);
  int32_t size() const { return first() + static_cast<int32_t>(spans_.size()); }

 private:
  struct Slot {
    uint32_t generation = 0;  // older than the interner's: empty
    int32_t id = 0;
  };
  struct Stored {
    size_t begin, size;
    uint64_t hash;
  };
  int32_t first() const { return base_ ? base_->size() : 0; }
  int32_t find(std::string_view bytes, uint64_t hash) const;
  void insert(int32_t id, uint64_t hash);
  void grow();

  const Interner* base_;
  std::vector<Slot> slots_;
  std::vector<Stored> spans_;
  std::string bytes_;
  uint32_t generation_ = 1;
};

struct Items {
  std::vector<int32_t> items;     // what is matched against the reference's
  std::vector<int32_t> sequence;  // what the edit distance compares
  int64_t junk = 0;               // pieces outside the grammar: predictions that match nothing
  void clear();
};

// Time and memory are linear in the text, but for sorting a grid that is not in reading order.
// Never throws for content.
void read_items(std::string_view text, Grammar grammar, Interner& intern, Items& out);

// Sorts ids in [0, size) and drops repeats, in linear time.
void keep_once(std::vector<int32_t>& ids, int32_t size);

// True for grammars whose items count once however often they are written.
inline bool is_set(Grammar grammar) { return grammar != Grammar::text; }

// The grammars, one file each. They share the cursor below.
void read_grid(std::string_view text, Interner& intern, Items& out);
void read_edges(std::string_view text, Interner& intern, Items& out);
void read_numbers(std::string_view text, Interner& intern, Items& out);
void read_words(std::string_view text, Interner& intern, Items& out);

inline bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

struct Cursor {
  std::string_view text;
  size_t at = 0;
  bool done() const { return at >= text.size(); }
  char peek() const { return done() ? '\0' : text[at]; }
  bool take(char c) {
    if (done() || text[at] != c) return false;
    ++at;
    return true;
  }
  void skip_space() {
    while (!done() && is_space(text[at])) ++at;
  }
  template <class Keep>
  std::string_view take_while(const Keep& keep) {
    const size_t begin = at;
    while (!done() && keep(text[at])) ++at;
    return text.substr(begin, at - begin);
  }
};

// "007" -> "7"; anything but digits stays.
std::string_view without_leading_zeros(std::string_view value);

constexpr size_t kMaxValue = 32;  // bytes of a cell's value or a node's label

}  // namespace percbal
