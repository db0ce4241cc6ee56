// Numbers 64-bit ids 0, 1, 2, ... in the order in which they are first seen.
#pragma once
#include <cstdint>
#include <vector>

namespace percbal {

// Stafford's variant 13 of the splitmix finaliser: ids in arithmetic progression spread evenly.
inline uint64_t mix(uint64_t id) {
  id = (id ^ (id >> 30)) * 0xbf58476d1ce4e5b9ull;
  id = (id ^ (id >> 27)) * 0x94d049bb133111ebull;
  return id ^ (id >> 31);
}

class Numbering {  // open addressing, at most half full
 public:
  explicit Numbering(int64_t capacity) {
    uint64_t size = 16;
    while (size < 2 * static_cast<uint64_t>(capacity)) size *= 2;
    slots_.assign(size, -1);
  }

  // `ids` holds the ids seen so far, by number; it is the caller's, and starts empty.
  int32_t operator()(int64_t id, std::vector<int64_t>& ids) {
    const uint64_t mask = slots_.size() - 1;
    for (uint64_t at = mix(id) & mask;; at = (at + 1) & mask) {
      const int32_t number = slots_[at];
      if (number < 0) {
        slots_[at] = static_cast<int32_t>(ids.size());
        ids.push_back(id);
        return slots_[at];
      }
      if (ids[number] == id) return number;
    }
  }

 private:
  std::vector<int32_t> slots_;
};

}  // namespace percbal
