// A kernel that can be wrong in the ways that the emulation is there to notice.
#include <cuda_runtime.h>

#include "cuda/check.cuh"

enum Fault {
  none,
  no_barrier,         // between a write to shared memory and another thread's read
  lane_stays_away,    // from a shuffle
  lane_elsewhere,     // in another instruction
  one_place_further,  // than the output goes
  one_scratch         // for all blocks
};

constexpr int kThreads = 64;

// out (gridDim.x * kThreads): who comes after and who is beside each thread, and its block.
__global__ void neighbour_kernel(Fault fault, int* scratch, int* out) {
  __shared__ int numbers[kThreads];
  const int i = threadIdx.x;
  numbers[i] = i;
  if (fault != no_barrier) __syncthreads();
  int sum = numbers[(i + 1) % kThreads];
  if (fault == lane_elsewhere && i == 40)
    sum += __ballot_sync(~0u, true);
  else if (fault != lane_stays_away || i != 40)
    sum += __shfl_xor_sync(~0u, i, 1);
  int* mine = scratch + (fault == one_scratch ? 0 : blockIdx.x);
  if (i == 0) *mine = 1000 * blockIdx.x;
  __syncthreads();
  out[blockIdx.x * kThreads + i + (fault == one_place_further)] = sum + *mine;
}

void neighbours(Fault fault, int blocks, int* scratch, int* out) {
  neighbour_kernel<<<blocks, kThreads, 0, nullptr>>>(fault, scratch, out);
  percbal::cuda::check_launch("neighbours");
}
