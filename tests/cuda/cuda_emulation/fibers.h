// Threads that take turns on one CPU thread: each runs until it waits for others. A switch costs
// tens of nanoseconds, so that 256 of them may meet thousands of times; a run repeats exactly; and
// threads that would wait for ever, or meet in different instructions, are an error.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

namespace emulation {

// Who goes on when several threads can. The first two run a thread as far as it gets: any two of the
// blocks that run at the same time that touch the same memory with nothing between them do so in one
// order and then in the other. The third goes round, so that these blocks are under way together.
enum Schedule { lowest_first, highest_first, in_turn };
inline Schedule schedule = lowest_first;

class Fibers {
 public:
  int current = 0;

  // Calls task() in `count` threads; before each stretch of one, resumed(its number). idle() is asked
  // whether it could wake one when all wait. Returns what went wrong or null.
  const char* run(int count, const std::function<void()>& task,
                  const std::function<void(int)>& resumed, const std::function<bool()>& idle) {
    while (static_cast<int>(fibers_.size()) < count) fibers_.push_back(std::make_unique<Fiber>());
    task_ = &task;
    finished_ = 0;
    problem_ = nullptr;
    wake(0, count);
    while (!problem_) {
      if (_setjmp(home_) != 0) continue;  // a thread has paused, or failed
      if (ready_.empty()) {
        if (!idle()) break;
        continue;
      }
      take();
      resumed(current);
      fibers_[current]->go_on();
    }
    if (!problem_ && finished_ < count) problem_ = "threads wait for others that never come";
    if (problem_) ready_.clear(), fibers_.clear();  // they stand in the middle of a kernel
    return problem_;
  }

  void wake(int first, int count) {
    for (int i = 0; i < count; ++i)
      ready_.push_back(first + (schedule == lowest_first ? count - 1 - i : i));
  }
  void pause() {
    if (_setjmp(fibers_[current]->at) == 0) _longjmp(home_, 1);
  }
  [[noreturn]] void fail(const char* problem) {
    problem_ = problem;
    _longjmp(home_, 1);
  }

 private:
  struct Fiber {  // one jump buffer for all switches but the first: swapcontext asks the kernel
    static constexpr size_t kStack = 1 << 16;
    std::unique_ptr<unsigned char[]> stack{new unsigned char[kStack]};
    bool started = false;
    jmp_buf at;

    void go_on() {
      if (started) _longjmp(at, 1);
      started = true;
      ucontext_t start;
      getcontext(&start);
      start.uc_stack.ss_sp = stack.get();
      start.uc_stack.ss_size = kStack;
      makecontext(&start, work, 0);
      setcontext(&start);
    }
  };

  static void work();  // what a fiber does for ever

  void take() {
    current = schedule == in_turn ? ready_.front() : ready_.back();
    schedule == in_turn ? ready_.pop_front() : ready_.pop_back();
  }

  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::deque<int> ready_;  // the next at its end; in_turn: at its front
  const std::function<void()>* task_ = nullptr;
  int finished_ = 0;
  const char* problem_ = nullptr;
  jmp_buf home_;
};
inline Fibers fibers;

inline void Fibers::work() {
  for (;;) {
    (*fibers.task_)();
    ++fibers.finished_;
    fibers.pause();
  }
}

// Where the threads first ... first + size - 1 wait for one another and see what each has brought.
class Meeting {
 public:
  Meeting(int first, int size) : first_(first), size_(size) {
    for (auto& values : brought_) values.resize(size);
  }

  // `instruction`: what they execute, the same for all.
  const uint64_t* operator()(int instruction, uint64_t brings = 0) {
    if (here_ > 0 && instruction != instruction_)
      fibers.fail("threads meet in different instructions");
    instruction_ = instruction;
    // by turns: a thread may come to the next meeting while others have not read this one's values
    auto& values = brought_[round_ % 2];
    values[fibers.current - first_] = brings;
    if (++here_ == size_) {
      here_ = 0;
      ++round_;
      fibers.wake(first_, size_);
    }
    fibers.pause();
    return values.data();
  }

 private:
  int first_, size_, here_ = 0, instruction_ = 0;
  unsigned round_ = 0;
  std::vector<uint64_t> brought_[2];
};

}  // namespace emulation
