// From the sums of coupling_stats to the numbers a person reads, (C1) to (C13) of docs/coupling.md.
#pragma once
#include <cstdint>

namespace percbal {

// A correlation is six numbers: r, both ends of its interval, rollouts, groups, echo.
enum PairNumber {
  kPooled = 0,        // (C1)
  kWithinGroups = 6,  // (C2)
  kOutcomeMean = 12,
  kTargetMean = 13,
  kWrongSuccess = 14,  // share of successes with the target wrong (C8)
  kEchoRatio = 15,     // pooled r / echo (C8)
  kPairNumbers = 16
};

enum SignalNumber {
  kConflictRate,  // (C12)
  kConflictShare,
  kShareRight,  // (C13)
  kShareWrong,
  kShareRightCentred,
  kShareWrongCentred,
  kPraisedWrong,
  kBlamedRight,
  kSilentShare,
  kScoredRollouts,
  kGroupsScored,
  kSignalNumbers
};

// pair: (K, C, kPairFields), signal: (C, kSignalFields), about origin_outcome (C) and origin_target
// (K). Writes pair_numbers (K, kPairNumbers, C) and signal_numbers (kSignalNumbers, C).
void coupling_summary(const double* pair, const double* signal, const double* origin_outcome,
                      const double* origin_target, int64_t targets, int64_t candidates,
                      double confidence, double* pair_numbers, double* signal_numbers);

// The value that Student's t with df >= 1 degrees of freedom exceeds with probability tail < 0.5.
double t_quantile(double tail, int64_t df);

}  // namespace percbal
