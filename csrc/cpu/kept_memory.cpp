#include "cpu/kept_memory.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#if defined(__linux__) && defined(MADV_FREE) && defined(MADV_WIPEONFORK)

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "cpu/huge_pages.h"

namespace percbal {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
std::atomic<Block*> kept{nullptr};

bool switched_on() {
  static const bool on = [] {
    const char* wish = std::getenv("PERCBAL_KEEP_MEMORY");
    return wish == nullptr || std::strcmp(wish, "0") != 0;
  }();
  return on;
}

Block map(size_t bytes) {
  bytes = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  const size_t mapped = bytes + kHugePage;
  void* start = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return {nullptr, 0};
  char* const begin = static_cast<char*>(start);
  const size_t head = (kHugePage - reinterpret_cast<uintptr_t>(begin) % kHugePage) % kHugePage;
  if (head != 0) munmap(begin, head);
  munmap(begin + head + bytes, kHugePage - head);
  advise_huge_pages(begin + head, bytes);
  return {begin + head, bytes};
}

void unmap(Block block) { munmap(block.data, block.bytes); }

// Leaves `block` in the slot; what was there before, or null.
Block* exchange(Block* block) { return kept.exchange(block, std::memory_order_acq_rel); }

}  // namespace

Block take_block(size_t bytes) {
  if (bytes < kLeastForHugePages || !switched_on()) return {nullptr, 0};
  Block* const old = exchange(nullptr);
  if (old == nullptr) return map(bytes);
  const Block block = *old;
  delete old;
  if (block.bytes < bytes) {
    unmap(block);
    return map(bytes);
  }
  madvise(block.data, block.bytes, MADV_KEEPONFORK);
  return block;
}

void give_back(Block block) {
  // a kernel that knows neither hint would keep the pages for good: it gets them back instead
  const bool hinted = madvise(block.data, block.bytes, MADV_FREE) == 0 &&
                      madvise(block.data, block.bytes, MADV_WIPEONFORK) == 0;
  if (!hinted) return unmap(block);
  Block* const old = exchange(new Block(block));
  if (old == nullptr) return;
  if (old->bytes <= block.bytes) {
    unmap(*old);
    delete old;
    return;
  }
  // the smaller one goes; what another thread gave back meanwhile goes with it
  Block* const smaller = exchange(old);
  if (smaller == nullptr) return;
  unmap(*smaller);
  delete smaller;
}

size_t drop_kept_block() {
  Block* const old = exchange(nullptr);
  if (old == nullptr) return 0;
  const size_t bytes = old->bytes;
  unmap(*old);
  delete old;
  return bytes;
}

}  // namespace percbal

#else

namespace percbal {

Block take_block(size_t) { return {nullptr, 0}; }
void give_back(Block) {}
size_t drop_kept_block() { return 0; }

}  // namespace percbal

#endif
