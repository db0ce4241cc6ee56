// Blocks of threads on fibers: who am I, what does my block share, and a launch.
#pragma once
#include <algorithm>
#include <cstdlib>

#include "copies.h"

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

constexpr int kStaticShared = 48 << 10;  // CUDA's own limit

struct Block {
  dim3 index;
  Meeting all;
  std::vector<Meeting> warps;
  std::vector<unsigned char> shared;  // static variables, then dynamic memory

  Block(dim3 index, int first, int threads, size_t dynamic)
      : index(index), all(first, threads), shared(kStaticShared + dynamic, 0xFF) {
    for (int lane = 0; lane < threads; lane += 32) warps.emplace_back(first + lane, 32);
  }
};
inline std::vector<Block> blocks;  // those that run at the same time
inline Block* block;

// A place for a shared variable: the same in every block.
inline int reserve(size_t bytes) {
  static size_t used = 0;
  const size_t at = used;
  used += (bytes + 15) / 16 * 16;
  if (used > kStaticShared) std::abort();
  return static_cast<int>(at);
}
template <class T>
T& shared(int at) {
  return *reinterpret_cast<T*>(block->shared.data() + at);
}
inline unsigned char* dynamic_shared() { return block->shared.data() + kStaticShared; }

// `together`: how many blocks run at the same time. Returns what went wrong or null.
inline const char* run_grid(dim3 grid, dim3 threads, size_t dynamic, int together,
                            const std::function<void()>& kernel) {
  const int size = threads.x;
  const bool valid = grid.x > 0 && grid.y > 0 && grid.y < 1 << 16 && grid.z == 1 && size > 0 &&
                     size <= 1024 && size % 32 == 0 && threads.y * threads.z == 1;
  if (!valid) return "invalid configuration argument";
  gridDim = grid;
  blockDim = threads;
  const unsigned count = grid.x * grid.y;
  for (unsigned next = 0; next < count;) {
    blocks.clear();
    for (int first = 0; next < count && first < together * size; first += size, ++next)
      blocks.emplace_back(dim3(next % grid.x, next / grid.x), first, size, dynamic);
    const int running = static_cast<int>(blocks.size()) * size;
    copies.start(running, size);
    const auto task = [&kernel] { kernel(), copies.leave(); };
    const auto resumed = [size](int thread) {
      block = &blocks[thread / size];
      blockIdx = block->index;
      threadIdx = dim3(thread % size);
    };
    const char* problem = fibers.run(running, task, resumed, [] { return copies.arrive_one(); });
    if (problem) return problem;
  }
  return nullptr;
}

}  // namespace emulation
