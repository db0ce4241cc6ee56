// Brings rows of equal ids together, each with the K values it carries: first into parts that fit
// the cache, by their ids, then by group within a part. Nothing is gathered from afar.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "core/coupling/numbering.h"
#include "core/simd/parallel.h"

namespace percbal {

struct Ids {
  const int64_t* data;
  int64_t rows, lowest, highest;

  uint64_t range() const { return static_cast<uint64_t>(highest) - static_cast<uint64_t>(lowest); }
};

// Rows by group: group g is rows [offsets[g], offsets[g + 1]), in the order they came in.
template <class T, int K>
struct Part {
  std::vector<int64_t> offsets;
  std::vector<T> column[K];
};

constexpr int64_t kPartRows = 4096;         // on average
constexpr int64_t kScatterChunk = 1 << 16;  // rows of one task of the first step
constexpr int kMaxPartBits = 12;

inline int part_bits(int64_t rows) {
  int bits = 0;
  while (bits < kMaxPartBits && (rows >> bits) > kPartRows) ++bits;
  return bits;
}

// Ids of a range hardly wider than there are rows: a subtraction numbers them.
class CompactKeys {
 public:
  using Key = uint32_t;
  static bool possible(const Ids& ids) {
    return ids.range() < static_cast<uint64_t>(4 * ids.rows) && ids.range() <= UINT32_MAX;
  }
  CompactKeys(const Ids& ids, int bits) : lowest_(ids.lowest), shift_(0) {
    while ((ids.range() >> shift_) >> bits) ++shift_;
  }
  Key key(int64_t id) const {
    return static_cast<Key>(static_cast<uint64_t>(id) - static_cast<uint64_t>(lowest_));
  }
  int64_t part(Key key) const { return key >> shift_; }

  class Groups {  // numbers the keys of one part
   public:
    Groups(const CompactKeys& keys, int64_t part, int64_t)
        : first_(static_cast<Key>(part << keys.shift_)), sizes_(size_t{1} << keys.shift_, 0) {}
    int32_t add(Key key) {
      ++sizes_[key - first_];
      return static_cast<int32_t>(key - first_);
    }
    const std::vector<int32_t>& sizes() const { return sizes_; }

   private:
    Key first_;
    std::vector<int32_t> sizes_;
  };

 private:
  int64_t lowest_;
  int shift_;
};

// Any ids, by a hash table for each part. The key is the hash: mix() has an inverse, so that equal
// keys are equal ids.
class HashedKeys {
 public:
  using Key = uint64_t;
  HashedKeys(const Ids&, int bits) : bits_(bits) {}
  Key key(int64_t id) const { return mix(static_cast<uint64_t>(id)); }
  int64_t part(Key key) const { return static_cast<int64_t>((key >> 1) >> (63 - bits_)); }

  class Groups {
   public:
    Groups(const HashedKeys&, int64_t, int64_t rows) {
      size_t slots = 16;
      while (slots < 2 * static_cast<size_t>(rows)) slots *= 2;  // at most half full
      slots_.assign(slots, -1);
    }
    int32_t add(Key key) {
      const uint64_t mask = slots_.size() - 1;
      for (uint64_t at = key & mask;; at = (at + 1) & mask) {
        int32_t& number = slots_[at];
        if (number < 0) {
          number = static_cast<int32_t>(keys_.size());
          keys_.push_back(key);
          sizes_.push_back(0);
        }
        if (keys_[number] != key) continue;
        ++sizes_[number];
        return number;
      }
    }
    const std::vector<int32_t>& sizes() const { return sizes_; }

   private:
    std::vector<int32_t> slots_, sizes_;
    std::vector<Key> keys_;
  };

 private:
  int bits_;
};

// load(i, values) writes the K values of row i; visit(p, first, part) gets part p, before whose
// rows `first` rows lie in other parts. Parts do not depend on the number of threads.
template <class Keys, class T, int K>
class GroupRows {
 public:
  template <class Load>
  GroupRows(const Ids& ids, const Load& load, const Parallel& parallel)
      : bits_(part_bits(ids.rows)), parts_(int64_t{1} << bits_),
        chunks_((ids.rows + kScatterChunk - 1) / kScatterChunk), keys_(ids, bits_),
        // not zeroed: the threads touch the pages first, each its own
        rows_(std::make_unique_for_overwrite<Row[]>(ids.rows)),
        ends_(chunks_ * parts_, 0) {
    parallel(chunks_, [&](int64_t c) { scatter(ids, c, load); });
    first_.assign(parts_ + 1, 0);
    for (int64_t p = 0; p < parts_; ++p) {
      first_[p + 1] = first_[p];
      for (int64_t c = 0; c < chunks_; ++c) first_[p + 1] += end(c, p) - begin(c, p);
    }
  }

  int64_t parts() const { return parts_; }

  // Parts [from, to), one after another.
  template <class Visit>
  void for_parts(int64_t from, int64_t to, const Visit& visit) const {
    Part<T, K> part;
    std::vector<int32_t> number, next;
    for (int64_t p = from; p < to; ++p) {
      const int64_t n = first_[p + 1] - first_[p];
      number.resize(n);
      for (std::vector<T>& column : part.column) column.resize(n);
      typename Keys::Groups groups(keys_, p, n);
      int32_t* to_number = number.data();
      for_rows(p, [&](const Row& row) { *to_number++ = groups.add(row.key); });
      next.clear();
      part.offsets.assign(1, 0);
      for (const int32_t size : groups.sizes()) {
        next.push_back(static_cast<int32_t>(part.offsets.back()));
        if (size > 0) part.offsets.push_back(part.offsets.back() + size);
      }
      const int32_t* of = number.data();
      for_rows(p, [&](const Row& row) {
        const int32_t at = next[*of++]++;
        for (int k = 0; k < K; ++k) part.column[k][at] = row.value[k];
      });
      visit(p, first_[p], part);
    }
  }

 private:
  struct Row {
    typename Keys::Key key;
    T value[K];
  };

  int64_t end(int64_t c, int64_t p) const { return ends_[c * parts_ + p]; }
  int64_t begin(int64_t c, int64_t p) const {
    return p > 0 ? end(c, p - 1) : c * kScatterChunk;
  }

  template <class Visit>
  void for_rows(int64_t p, const Visit& visit) const {
    for (int64_t c = 0; c < chunks_; ++c)
      for (int64_t i = begin(c, p); i < end(c, p); ++i) visit(rows_[i]);
  }

  // The rows of chunk c by part; they stay in the chunk's range of rows_.
  template <class Load>
  void scatter(const Ids& ids, int64_t c, const Load& load) {
    const int64_t from = c * kScatterChunk, to = std::min(ids.rows, from + kScatterChunk);
    int32_t* next = &ends_[c * parts_];
    for (int64_t i = from; i < to; ++i) ++next[keys_.part(keys_.key(ids.data[i]))];
    int32_t at = static_cast<int32_t>(from);
    for (int64_t p = 0; p < parts_; ++p) at += std::exchange(next[p], at);
    for (int64_t i = from; i < to; ++i) {
      const typename Keys::Key key = keys_.key(ids.data[i]);
      Row& row = rows_[next[keys_.part(key)]++];
      row.key = key;
      load(i, row.value);
    }
  }

  int bits_;
  int64_t parts_, chunks_;
  Keys keys_;
  std::unique_ptr<Row[]> rows_;
  std::vector<int32_t> ends_;   // (chunks, parts): where the rows of a part end
  std::vector<int64_t> first_;  // (parts + 1)
};

}  // namespace percbal
