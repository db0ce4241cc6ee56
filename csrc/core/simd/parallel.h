// How the torch-free core runs in parallel without knowing a thread pool: the caller lends one.
#pragma once
#include <cstdint>
#include <functional>

namespace percbal {

// parallel(n, f) calls f(0) ... f(n - 1), in any order and on any threads, and waits for all.
using Parallel = std::function<void(int64_t, const std::function<void(int64_t)>&)>;

}  // namespace percbal
