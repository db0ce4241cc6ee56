// The barrier of a cluster, barriers that count bytes, and copies that arrive at once (schedule
// lowest_first) or when all threads wait (the others). A kernel that relies on more than they
// promise is an error, or its results depend on the schedule.
#pragma once
#include <cstring>
#include <map>

#include "fibers.h"

namespace emulation {

class Copies {
 public:
  // Of `threads` threads that begin, `size` in each block.
  void start(int threads, int size) {
    size_ = size;
    barriers_.clear(), under_way_.clear(), waiting_.clear();
    arrived_ = 0;
    arrivals_.assign(threads, 0), waits_.assign(threads, 0), published_.assign(threads, 0);
    left_.assign(threads / size, 0), stores_.assign(threads / size, 0);
  }

  // barrier.cluster.arrive and .wait, of every thread.
  void arrive() {
    if (arrivals_[me()]++ != waits_[me()]) fibers.fail("a thread arrives twice without a wait");
    if (++arrived_ % arrivals_.size() != 0) return;
    for (const int thread : waiting_) fibers.wake(thread, 1);
    waiting_.clear();
  }
  void wait() {
    if (arrivals_[me()] != ++waits_[me()]) fibers.fail("a thread waits without having arrived");
    if (arrived_ < waits_[me()] * arrivals_.size()) waiting_.push_back(me()), fibers.pause();
  }

  void init(const void* at) {
    if (!barriers_.try_emplace(at, Barrier{me()}).second) fibers.fail("a barrier is set up twice");
  }
  void publish_barriers() {
    for (auto& [at, barrier] : barriers_)
      if (barrier.thread == me() && !barrier.known_after) barrier.known_after = arrivals_[me()] + 1;
  }
  void expect(const void* at, int64_t bytes) {
    Barrier& barrier = find(at);
    if (std::exchange(barrier.expects, true)) fibers.fail("a barrier expects bytes twice");
    barrier.missing += bytes;
    complete(barrier);
  }
  // `of_cluster`: bytes of other blocks are asked for, too.
  void wait_for(const void* at, bool of_cluster) {
    Barrier& barrier = find(at);
    if (!barrier.complete) barrier.waiting.push_back(me()), fibers.pause();
    if (barrier.others && !of_cluster) fibers.fail("bytes of other blocks need the cluster's wait");
  }

  void load(void* to, const void* from, size_t bytes, const void* barrier) {
    begin({me(), to, from, bytes, &find(barrier)});
  }
  // The value goes to a place and a barrier of another block, or of this one.
  void send(void* to, const void* value, size_t bytes, const void* at) {
    Barrier& barrier = find(at);
    if (barrier.thread / size_ != me() / size_) {
      barrier.others = true;
      if (waits_[me()] < barrier.known_after)
        fibers.fail("a block sends before it has waited for the cluster");
    }
    Copy copy{me(), to, nullptr, bytes, &barrier};
    const auto* first = static_cast<const unsigned char*>(value);
    copy.value.assign(first, first + bytes);
    begin(std::move(copy));
  }

  void publish_memory() { ++published_[me()]; }
  void store(void* to, const void* from, size_t bytes) {
    const int home = me() / size_, before = stores_[home]++;
    for (int thread = home * size_; thread < (home + 1) * size_; ++thread)
      if (published_[thread] <= before) fibers.fail("memory is copied out that is not published");
    begin({me(), to, from, bytes, nullptr});
  }
  void finish_stores() {
    for (size_t i = 0; i < under_way_.size();)
      under_way_[i].thread == me() && !under_way_[i].barrier ? arrive_at(i) : void(++i);
  }

  // While all threads wait; false: nothing is under way.
  bool arrive_one() {
    if (under_way_.empty()) return false;
    arrive_at(schedule == highest_first ? under_way_.size() - 1 : 0);
    return true;
  }

  // At the end of every thread.
  void leave() {
    const int home = me() / size_;
    if (++left_[home] < size_) return;
    for (const Copy& copy : under_way_)
      if (!copy.barrier && copy.thread / size_ == home)
        fibers.fail("a block leaves while its memory is copied out");
    for (const auto& [at, barrier] : barriers_)
      if (barrier.thread / size_ == home && barrier.missing != 0)
        fibers.fail("a block leaves before its bytes have come");
  }

 private:
  struct Barrier {
    int thread;                // which set it up
    unsigned known_after = 0;  // so many waits for the cluster in the threads of other blocks
    bool expects = false, complete = false, others = false;
    int64_t missing = 0;  // bytes: expected less arrived
    std::vector<int> waiting;
  };
  struct Copy {
    int thread;  // which began it
    void* to;
    const void* from;
    size_t bytes;
    Barrier* barrier;  // none: out of shared memory
    std::vector<unsigned char> value;
  };

  static int me() { return fibers.current; }

  Barrier& find(const void* at) {
    const auto found = barriers_.find(at);
    if (found == barriers_.end() || !found->second.known_after)
      fibers.fail("a barrier is used before it is set up and published");
    return found->second;
  }
  void complete(Barrier& barrier) {
    if (barrier.missing != 0 || !barrier.expects) return;
    barrier.complete = true;
    for (const int thread : barrier.waiting) fibers.wake(thread, 1);
    barrier.waiting.clear();
  }
  void begin(Copy copy) {
    under_way_.push_back(std::move(copy));
    if (schedule == lowest_first) arrive_one();
  }
  void arrive_at(size_t i) {
    const Copy copy = std::move(under_way_[i]);
    under_way_.erase(under_way_.begin() + i);
    const void* from = copy.value.empty() ? copy.from : copy.value.data();
    if (!copy.barrier) return void(std::memcpy(copy.to, from, copy.bytes));
    if (copy.barrier->complete || left_[copy.barrier->thread / size_] == size_)
      fibers.fail("bytes come that nobody waits for");
    std::memcpy(copy.to, from, copy.bytes);
    copy.barrier->missing -= static_cast<int64_t>(copy.bytes);
    complete(*copy.barrier);
  }

  int size_ = 1;
  std::map<const void*, Barrier> barriers_;
  std::deque<Copy> under_way_;
  size_t arrived_ = 0;                      // arrivals of all threads
  std::vector<unsigned> arrivals_, waits_;  // of each thread
  std::vector<int> waiting_;                // for the cluster
  std::vector<int> published_, stores_, left_;
};
inline Copies copies;

}  // namespace emulation
