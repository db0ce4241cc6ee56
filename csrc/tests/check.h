// Assertions for the tests of the core: a failed one is printed with its place and ends the program.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstdlib>

#define CHECK(condition)                                                                 \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #condition);      \
      std::exit(1);                                                                      \
    }                                                                                    \
  } while (false)

// |a - b| <= tolerance (1 + |b|); two NaN are close.
#define CHECK_CLOSE(a, b, tolerance)                                                     \
  do {                                                                                   \
    const double check_a = (a), check_b = (b);                                           \
    const bool both_nan = std::isnan(check_a) && std::isnan(check_b);                    \
    const double allowed = (tolerance) * (1 + std::fabs(check_b));                       \
    if (!both_nan && check_a != check_b && !(std::fabs(check_a - check_b) <= allowed)) { \
      std::fprintf(stderr, "%s:%d: %s is %.17g, expected %.17g\n", __FILE__, __LINE__,   \
                   #a, check_a, check_b);                                                \
      std::exit(1);                                                                      \
    }                                                                                    \
  } while (false)
