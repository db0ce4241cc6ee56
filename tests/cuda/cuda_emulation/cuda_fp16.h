#pragma once
#include <cmath>

using __half = _Float16;

inline __half __float2half(float x) { return static_cast<__half>(x); }
inline float __half2float(__half x) { return x; }

struct __half2 {
  __half x, y;
};
inline __half2 __hmax2(__half2 a, __half2 b) {
  return {static_cast<__half>(fmaxf(a.x, b.x)), static_cast<__half>(fmaxf(a.y, b.y))};
}
