// The two 16-bit floating-point types as bits: what the torch-free core knows about them.
#pragma once
#include <cstddef>
#include <cstdint>

namespace percbal {

struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};

// Acc of T: the dtype sums run in.
template <class T>
struct Accumulate {
  using type = float;
};
template <>
struct Accumulate<double> {
  using type = double;
};

template <class T>
constexpr T minus_infinity() {
  return -__builtin_inf();
}
template <>
constexpr bf16 minus_infinity<bf16>() {
  return {0xff80};
}
template <>
constexpr f16 minus_infinity<f16>() {
  return {0xfc00};
}

}  // namespace percbal
