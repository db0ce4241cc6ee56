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

// Over the rivals seen so far. The peak is finite, so that slices of -inf merge without NaN.
struct Sums {
  float peak, s1, s2;

  __device__ void merge(const Sums& other) {
    const float top = fmaxf(peak, other.peak);
    const float a = exp_fast(peak - top), b = exp_fast(other.peak - top);
    s1 = s1 * a + other.s1 * b;
    s2 = s2 * (a * a) + other.s2 * (b * b);
    peak = top;
  }
};

struct Row {
  float loss, grad_sq;
  float peak, spread, at_target;  // dl/dz_i = spread exp(z_i - peak), and at_target for the target
};

__device__ inline Row finish_row(const Sums& sums, float z_y, float w_y, float z_loss) {
  const float peak = sums.s1 == 0 ? 0 : sums.peak;
  const float log_s1 = logf(sums.s1);
  const float lead = (z_y - peak) - log_s1;  // in this order: a huge peak keeps its digits
  const float fall = expf(-fabsf(lead)), tail = log1pf(fall);
  const float nll = z_y == INFINITY ? NAN : fmaxf(-lead, 0) + tail;
  const float miss = (lead > 0 ? fall : 1) / (1 + fall);
  const float hit = (lead > 0 ? 1 : fall) / (1 + fall);
  const float lse = lead > 0 ? z_y + nll : peak + (log_s1 + fmaxf(lead, 0) + tail);
  const float pull = z_loss == 0 ? 0 : 2 * z_loss * lse;
  const float mass = w_y + pull;
  Row row;
  row.loss = w_y * nll + (z_loss == 0 ? 0 : z_loss * lse * lse);
  row.peak = peak;
  row.spread = sums.s1 == 0 ? 0 : mass * (miss / sums.s1);
  // twice the second line of (M4), each where it does not cancel
  row.at_target = hit > 0.5f ? -mass * miss + pull : mass * hit - w_y;
  row.grad_sq = row.at_target * row.at_target + row.spread * row.spread * sums.s2;
  return row;
}

}  // namespace percbal::cuda
