// What the tests call: plain C functions that return what went wrong, or null.
#pragma once
#include <exception>
#include <string>

#include "cuda_runtime.h"

namespace emulation {

template <class Call>
const char* reported(const Call& call) {
  static std::string said;
  try {
    return call(), nullptr;
  } catch (const std::exception& problem) {
    return (said = problem.what()).c_str();
  }
}

}  // namespace emulation

extern "C" void set_schedule(int64_t schedule) {
  emulation::schedule = static_cast<emulation::Schedule>(schedule);
}
