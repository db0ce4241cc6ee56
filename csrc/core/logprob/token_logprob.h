// Log-probability and entropy of rows of logits, and their joint gradient; docs/math.md (M2), (M11).
// Torch-free: plain pointers, sizes and strides counted in elements.
#pragma once
#include <cstdint>

#include "core/losses/cross_entropy.h"

namespace percbal {

// What backward needs of a row's forward, in this order: m before the temperature, q / S1, q,
// L - m - H, dH/du_y.
constexpr int kLogprobStats = 5;

// acc below is fp64 for fp64 logits, else fp32.
struct TokenLogprobArgs {
  void* logits;  // (rows, classes) of the dtype; unit class stride; backward writes over them
  int64_t classes, row_stride;
  const int64_t* target;  // (rows,), each in [0, classes): checked by the caller
  void* logprob;          // (rows,) acc
  void* entropy;          // (rows,) acc
  void* stats;            // (rows, 5) acc
  const void* grad_logprob;  // (rows,) acc
  const void* grad_entropy;  // (rows,) acc
  double temperature, softcap;  // softcap 0: none
};

// Both work on the rows [begin, end), each row independently of all others.
using LogprobFunction = void (*)(const TokenLogprobArgs&, int64_t begin, int64_t end);

struct TokenLogprobKernels {
  LogprobFunction forward;   // writes logprob, entropy and stats
  LogprobFunction backward;  // reads stats and gradients, writes d / d logits over the logits
};

TokenLogprobKernels token_logprob_kernels(Dtype dtype, CpuLevel level);

// Sums over the non-target classes, with e_i = exp(-g_i) and the gap g_i = (m - u_i) / temperature.
struct EntropySums {
  double max_logit = -__builtin_inf();  // m
  double s1 = 0, s5 = 0;           // sum e, sum e g

  void raise_max(double to, double temperature);  // express both sums relative to a higher maximum
  double shift() const { return max_logit == -__builtin_inf() ? 0.0 : max_logit; }
};

struct LogprobRow {
  double logprob, entropy, stats[kLogprobStats];
};

// The scalar end of a row, in fp64 for every dtype; target_logit is u_y before the temperature.
LogprobRow finish_logprob_row(const EntropySums& sums, double target_logit, double temperature);

}  // namespace percbal
