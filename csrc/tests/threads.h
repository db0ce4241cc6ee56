// A thread per share of the tasks: what the bindings lend the core, for tests and ThreadSanitizer.
#pragma once
#include <atomic>
#include <thread>
#include <vector>

#include "core/simd/parallel.h"

inline percbal::Parallel threads(int count) {
  return [count](int64_t tasks, const std::function<void(int64_t)>& task) {
    std::atomic<int64_t> next{0};
    std::vector<std::thread> pool;
    for (int t = 0; t < count; ++t)
      pool.emplace_back([&] {
        for (int64_t i = next++; i < tasks; i = next++) task(i);
      });
    for (std::thread& thread : pool) thread.join();
  };
}
