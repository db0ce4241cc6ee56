#include "core/text/text_items.h"

#include <algorithm>
#include <cstring>
#include <random>

namespace percbal {
namespace {

// A secret per process, so that no text can be written to collide; results do not depend on it.
uint64_t hash_seed() {
  static const uint64_t seed = std::random_device{}() * 0x9e3779b97f4a7c15ull + 1;
  return seed;
}

uint64_t fold(uint64_t a, uint64_t b) {  // both halves of the product: one multiplication mixes
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

uint64_t hash_of(std::string_view bytes) {
  uint64_t hash = hash_seed() ^ bytes.size();
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    hash = fold(hash ^ word, 0x9e3779b97f4a7c15ull);
  }
  uint64_t rest = 0;
  for (size_t i = 0; i < left; ++i) rest = rest << 8 | static_cast<uint8_t>(at[i]);
  return fold(hash ^ rest, 0xbf58476d1ce4e5b9ull);
}

}  // namespace

void Interner::clear() {
  spans_.clear();
  bytes_.clear();
  if (++generation_ == 0) {  // wrapped round: old slots would look new
    std::fill(slots_.begin(), slots_.end(), Slot{});
    generation_ = 1;
  }
}

int32_t Interner::find(std::string_view bytes, uint64_t hash) const {
  const uint64_t mask = slots_.size() - 1;
  for (uint64_t at = hash & mask;; at = (at + 1) & mask) {
    const Slot& slot = slots_[at];
    if (slot.generation != generation_) return -1;
    const Stored& stored = spans_[slot.id];
    if (stored.hash == hash && std::string_view(bytes_).substr(stored.begin, stored.size) == bytes)
      return first() + slot.id;
  }
}

void Interner::insert(int32_t id, uint64_t hash) {
  const uint64_t mask = slots_.size() - 1;
  uint64_t at = hash & mask;
  while (slots_[at].generation == generation_) at = (at + 1) & mask;
  slots_[at] = {generation_, id};
}

void Interner::grow() {
  slots_.assign(slots_.size() * 2, Slot{});
  for (size_t id = 0; id < spans_.size(); ++id) insert(static_cast<int32_t>(id), spans_[id].hash);
}

int32_t Interner::operator()(std::string_view bytes) {
  const uint64_t hash = hash_of(bytes);
  if (base_) {
    const int32_t known = base_->find(bytes, hash);
    if (known >= 0) return known;
  }
  const int32_t known = find(bytes, hash);
  if (known >= 0) return known;
  if (2 * (spans_.size() + 1) > slots_.size()) grow();
  const int32_t id = static_cast<int32_t>(spans_.size());
  spans_.push_back({bytes_.size(), bytes.size(), hash});
  bytes_.append(bytes);
  insert(id, hash);
  return first() + id;
}

void Items::clear() {
  items.clear();
  sequence.clear();
  junk = 0;
}

void keep_once(std::vector<int32_t>& ids, int32_t size) {
  std::vector<bool> present(size);
  for (const int32_t id : ids) present[id] = true;
  ids.clear();
  for (int32_t id = 0; id < size; ++id)
    if (present[id]) ids.push_back(id);
}

std::string_view without_leading_zeros(std::string_view value) {
  if (!std::all_of(value.begin(), value.end(), is_digit)) return value;
  while (value.size() > 1 && value[0] == '0') value.remove_prefix(1);
  return value;
}

void read_words(std::string_view text, Interner& intern, Items& out) {
  Cursor cursor{text};
  for (cursor.skip_space(); !cursor.done(); cursor.skip_space())
    out.items.push_back(intern(cursor.take_while([](char c) { return !is_space(c); })));
  out.sequence = out.items;
}

void read_items(std::string_view text, Grammar grammar, Interner& intern, Items& out) {
  out.clear();
  switch (grammar) {
    case Grammar::grid: return read_grid(text, intern, out);
    case Grammar::edges: return read_edges(text, intern, out);
    case Grammar::numbers: return read_numbers(text, intern, out);
    case Grammar::text: return read_words(text, intern, out);
  }
}

}  // namespace percbal
