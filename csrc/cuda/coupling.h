// Launches of the reward-coupling kernels; pointers are on the device.
#pragma once
#include "core/coupling/coupling_stats.h"

namespace percbal::cuda {

constexpr int kCouplingBlocks = 1024;  // at most; partial sums are added in the order of blocks

// scratch: (blocks, C, T * kPairFields + kSignalFields) float64, blocks = coupling_blocks(groups).
int coupling_blocks(int64_t groups);

template <class T>
void coupling_stats(const Rollouts<T>& in, const CouplingOptions& options, double* scratch,
                    double* pair, double* signal, void* stream);

template <class T>
void group_coupling(const Rollouts<T>& in, double* correlation, int64_t* count, void* stream);

template <class T>
void group_advantage(const Rollouts<T>& in, double eps, T* scaled, T* centred, void* stream);

}  // namespace percbal::cuda
