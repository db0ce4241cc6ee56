// The scalar end of a row: from sums over the non-target classes to loss, norm and coefficients of
// the gradient. In fp64 for every dtype: it costs a few nanoseconds per row and no digits.
#pragma once
#include <cstddef>

#include "core/losses/cross_entropy.h"

namespace percbal {

// Sums over the non-target classes (all classes but the target); see (M2), (M3), (M5).
struct NontargetSums {
  double max_logit = -__builtin_inf();  // m
  double s1 = 0, s2 = 0;                // sum e, sum (s e)^2
  double s3 = 0, s4 = 0;                // sum s^2 w e, sum s^2 w^2; with label smoothing only
  double gap = 0, gap_weight = 0;       // sum w (m - u), sum w; with label smoothing only

  void raise_max(double to);  // express all sums relative to a higher maximum
  double shift() const { return max_logit == -__builtin_inf() ? 0.0 : max_logit; }
};

struct RowOptions {
  double target_weight, weight_sum, label_smoothing, z_loss, share;  // w_y, W, eps, zeta, eps / V
};

// What backward needs of the forward, and p_y, which it forms again where it is small.
struct RowStats {
  double max_logit, ratio, one_minus_p, lse, p_target;
};

struct RowResult {
  RowStats stats;
  double loss, grad_sq;
};

// dl/dz_i = s_i (nontarget e_i - uniform w_i) for i != y; dl/dz_y = s_y target; (M4).
struct RowGradient {
  double nontarget, uniform, target;
};

// u and s of the target by (M1).
struct Capped {
  double value, slope;
};

Capped capped(double logit, double softcap);
RowResult finish_row(const NontargetSums& sums, Capped target, const RowOptions& options);
RowStats with_p_target(double max_logit, double ratio, double one_minus_p, double lse,
                       Capped target);
RowGradient row_gradient(const RowStats& stats, const RowOptions& options);

// memcpy, out of sight of the callers' compiler: where that can bound the size it takes `rep movs`,
// whose start alone costs as much as a row of a small vocabulary.
void copy_bytes(void* to, const void* from, size_t bytes);

}  // namespace percbal
