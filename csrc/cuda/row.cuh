// A row from its sums: docs/math.md (M2)-(M5), without label smoothing or softcap.
#pragma once
#include <cfloat>
#include <cmath>

namespace percbal::cuda {

constexpr float kLog2e = 1.4426950408889634f;

__device__ inline float exp_fast(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * kLog2e));
  return y;
#else
  return exp2f(x * kLog2e);  // tests run this on the CPU
#endif
}

// Over the non-target classes seen so far. The maximum is finite: slices of -inf merge without NaN.
struct Sums {
  float max_logit, s1, s2;

  __device__ void merge(const Sums& other) {
    const float top = fmaxf(max_logit, other.max_logit);
    const float a = exp_fast(max_logit - top), b = exp_fast(other.max_logit - top);
    s1 = s1 * a + other.s1 * b;
    s2 = s2 * (a * a) + other.s2 * (b * b);
    max_logit = top;
  }
};

struct Row {
  float loss, grad_sq;
  // dl/dz_i = spread exp(z_i - max_logit), and at_target for the target
  float max_logit, spread, at_target;
};

__device__ inline Row finish_row(const Sums& sums, float z_y, float w_y, float z_loss) {
  const float max_logit = sums.s1 == 0 ? 0 : sums.max_logit;
  const float log_s1 = logf(sums.s1);
  const float lead = (z_y - max_logit) - log_s1;  // in this order: a huge maximum keeps its digits
  const float fall = expf(-fabsf(lead)), tail = log1pf(fall);
  const float nll = z_y == INFINITY ? NAN : fmaxf(-lead, 0) + tail;
  const float one_minus_p = (lead > 0 ? fall : 1) / (1 + fall);
  const float p_target = (lead > 0 ? 1 : fall) / (1 + fall);
  const float lse = lead > 0 ? z_y + nll : max_logit + (log_s1 + fmaxf(lead, 0) + tail);
  const float pull = z_loss == 0 ? 0 : 2 * z_loss * lse;
  const float mass = w_y + pull;
  Row row;
  row.loss = w_y * nll + (z_loss == 0 ? 0 : z_loss * lse * lse);
  row.max_logit = max_logit;
  row.spread = sums.s1 == 0 ? 0 : mass * (one_minus_p / sums.s1);
  // twice the second line of (M4), each where it does not cancel
  row.at_target = p_target > 0.5f ? -mass * one_minus_p + pull : mass * p_target - w_y;
  row.grad_sq = row.at_target * row.at_target + row.spread * row.spread * sums.s2;
  return row;
}

}  // namespace percbal::cuda
