// Reward-coupling statistics of many rollouts, torch-free: plain pointers and sizes.
#pragma once
#include <cstdint>

#include "core/coupling/coupling_fields.h"
#include "core/simd/parallel.h"
#include "core/simd/level.h"

namespace percbal {

constexpr int kAccStride = 8;  // partial sums of a field: the lanes of the widest vector

template <class T>
struct Rollouts {
  const T* outcome;        // (R, C), row-major; NaN = not scored
  int64_t candidates;      // C
  const T* target[2];      // (R) each: perception, then reasoning
  int64_t targets;         // K: how many of them; without rows, all pointers may be null
  const int32_t* order;    // (R) rows by group, or null when they already lie so
  const int64_t* offsets;  // (G + 1), or null when every group has `length` rows
  int64_t rows, groups;
  int64_t length = 0;

  PERCBAL_HD int64_t begin(int64_t g) const { return offsets ? offsets[g] : g * length; }
  PERCBAL_HD int64_t size(int64_t g) const { return begin(g + 1) - begin(g); }
  PERCBAL_HD int64_t row(int64_t i) const { return order ? order[i] : i; }
};

struct CouplingOptions {
  const double* origin_outcome;  // (C): the moments are about these values
  const double* origin_target;   // (K)
  double eps;                    // added to the group's std before dividing by it
  double right_at;               // perception is right from this value on
};

// pair: (K, C, kPairFields); signal: (C, kSignalFields). The result does not depend on how many
// threads `parallel` has.
template <class T>
void coupling_stats(const Rollouts<T>& in, const CouplingOptions& options, double* pair,
                    double* signal, const Parallel& parallel);

// The same of rows in any order; ids: (R). `in` needs no order, offsets or groups.
template <class T>
void coupling_stats_by_id(Rollouts<T> in, const int64_t* ids, const CouplingOptions& options,
                          double* pair, double* signal, const Parallel& parallel);

// correlation: (K, C, G), NaN where either side is constant; count: (K, C, G) rollouts with both.
template <class T>
void group_coupling(const Rollouts<T>& in, double* correlation, int64_t* count,
                    const Parallel& parallel);

// The two GRPO advantages of every rollout, each (R, C): (C10) and (C11); NaN where not scored.
template <class T>
void group_advantage(const Rollouts<T>& in, double eps, T* scaled, T* centred,
                     const Parallel& parallel);

}  // namespace percbal
