#include EMULATED_SOURCE

#include "reported.h"

extern "C" const char* neighbours(int64_t fault, int64_t blocks, int* scratch, int* out) {
  return emulation::reported([&] {
    neighbours(static_cast<Fault>(fault), static_cast<int>(blocks), scratch, out);
  });
}
