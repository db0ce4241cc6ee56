// Turns a failed launch into an exception with the kernel's name.
#pragma once
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace percbal::cuda {

inline void check_launch(const char* name) {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess)
    throw std::runtime_error(std::string(name) + ": " + cudaGetErrorString(error));
}

}  // namespace percbal::cuda
