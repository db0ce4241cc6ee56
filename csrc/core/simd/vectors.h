// Vectors of PERCBAL_VECTOR_BYTES bytes in the namespace percbal::PERCBAL_LEVEL.
//
// Written with the vector extension that g++ and clang share, so one text serves every level; only
// what the compiler cannot be trusted to find (fused multiply-add, max, fp16) is an intrinsic.
// Included once per level, after level_begin.h.

namespace percbal::PERCBAL_LEVEL {

constexpr int kBytes = PERCBAL_VECTOR_BYTES;
typedef float f32v __attribute__((vector_size(kBytes)));
typedef double f64v __attribute__((vector_size(kBytes)));
typedef uint32_t u32v __attribute__((vector_size(kBytes)));
typedef uint64_t u64v __attribute__((vector_size(kBytes)));
typedef int32_t i32v __attribute__((vector_size(kBytes)));
typedef int64_t i64v __attribute__((vector_size(kBytes)));
typedef uint16_t u16v __attribute__((vector_size(kBytes / 2)));  // as many lanes as f32v

// Acc: the dtype of the arithmetic. fp64 for fp64 logits, else fp32.
template <class Acc>
struct Simd;
template <>
struct Simd<float> {
  using Vec = f32v;
  using Bits = u32v;
  using Int = i32v;
  static constexpr int width = kBytes / 4;
  static constexpr int mantissa = 23, bias = 127;
  static constexpr float magic = 0x1.8p23f;  // adding it rounds to an integer in the low bits
  static constexpr float log2e = 0x1.715476p0f;
  static constexpr float least = -127;  // where exp2 is flushed to 0
};
template <>
struct Simd<double> {
  using Vec = f64v;
  using Bits = u64v;
  using Int = i64v;
  static constexpr int width = kBytes / 8;
  static constexpr int mantissa = 52, bias = 1023;
  static constexpr double magic = 0x1.8p52;
  static constexpr double log2e = 0x1.71547652b82fep0;
  static constexpr double least = -1023;
};

template <class Acc>
using Vec = typename Simd<Acc>::Vec;

template <class Acc>
PERCBAL_INLINE Vec<Acc> broadcast(Acc x) {
  return x - Vec<Acc>{};
}

PERCBAL_INLINE f32v fma(f32v a, f32v b, f32v c) {
#if PERCBAL_VECTOR_BYTES == 64
  return (f32v)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif PERCBAL_VECTOR_BYTES == 32
  return (f32v)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

PERCBAL_INLINE f64v fma(f64v a, f64v b, f64v c) {
#if PERCBAL_VECTOR_BYTES == 64
  return (f64v)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif PERCBAL_VECTOR_BYTES == 32
  return (f64v)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#else
  return a * b + c;
#endif
}

// (maskz with a full mask, here and below: the plain forms start from a vector that g++ 12 takes for
// an uninitialised one, and warns.)
// a > b ? a : b, so that of a NaN and a number the *second* argument is the result.
PERCBAL_INLINE f32v max(f32v a, f32v b) {
#if PERCBAL_VECTOR_BYTES == 64
  return (f32v)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b);
#elif PERCBAL_VECTOR_BYTES == 32
  return (f32v)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return a > b ? a : b;
#endif
}

PERCBAL_INLINE f64v max(f64v a, f64v b) { return a > b ? a : b; }

// Lanes are combined by halves until two are left.
template <class V>
PERCBAL_INLINE auto lane_max(V v) {
  using Lane = decltype(v[0] + v[0]);
  if constexpr (sizeof(V) == 2 * sizeof(Lane)) {
    return v[0] > v[1] ? v[0] : v[1];
  } else {
    typedef Lane Half __attribute__((vector_size(sizeof(V) / 2)));
    Half half[2];
    memcpy(half, &v, sizeof v);
    return lane_max<Half>(half[0] > half[1] ? half[0] : half[1]);
  }
}

template <class V>
PERCBAL_INLINE auto lane_sum(V v) {
  using Lane = decltype(v[0] + v[0]);
  if constexpr (sizeof(V) == 2 * sizeof(Lane)) {
    return v[0] + v[1];
  } else {
    typedef Lane Half __attribute__((vector_size(sizeof(V) / 2)));
    Half half[2];
    memcpy(half, &v, sizeof v);
    return lane_sum<Half>(half[0] + half[1]);
  }
}

// (2^f - 1) / f for |f| <= 1/2: the minimax fit, relative to 2^f, to 2e-9 in fp32, 4e-18 in fp64.
PERCBAL_INLINE f32v exp2_slope(f32v f) {
  f32v p = broadcast(1.535336099e-4f);
  p = fma(p, f, broadcast(1.339887438e-3f));
  p = fma(p, f, broadcast(9.618437361e-3f));
  p = fma(p, f, broadcast(5.550332471e-2f));
  p = fma(p, f, broadcast(2.402264791e-1f));
  return fma(p, f, broadcast(6.931472029e-1f));
}

PERCBAL_INLINE f64v exp2_slope(f64v f) {
  f64v p = broadcast(4.4347718050868854e-10);
  p = fma(p, f, broadcast(7.073783236522760564e-9));
  p = fma(p, f, broadcast(1.017819956839327806e-7));
  p = fma(p, f, broadcast(1.321543528237656034e-6));
  p = fma(p, f, broadcast(1.525273349313592343e-5));
  p = fma(p, f, broadcast(1.540353045711196146e-4));
  p = fma(p, f, broadcast(1.333355814677461171e-3));
  p = fma(p, f, broadcast(9.618129107594120183e-3));
  p = fma(p, f, broadcast(5.550410866482008326e-2));
  p = fma(p, f, broadcast(2.402265069591013126e-1));
  return fma(p, f, broadcast(6.931471805599453258e-1));
}

// 2^y = scale (1 + excess), with scale a power of two and excess = 2^f - 1, |f| <= 1/2.
template <class Acc>
struct Exp2Parts {
  Vec<Acc> scale, excess;
};

// For y <= 0 (from about 128, or 1024 in fp64, the result is meaningless). NaN gives NaN; results
// below the smallest normal number are flushed to 0, exactly 0 for -inf.
template <class Acc>
PERCBAL_INLINE Exp2Parts<Acc> exp2_parts(Vec<Acc> y) {
  using S = Simd<Acc>;
  y = max(broadcast<Acc>(S::least), y);
  // the low bits of t are the exponent field of 2^round(y)
  const Vec<Acc> magic = broadcast<Acc>(S::magic + S::bias);
  const Vec<Acc> t = y + magic;
  const Vec<Acc> f = y - (t - magic);
  return {(Vec<Acc>)((typename S::Bits)t << S::mantissa), f * exp2_slope(f)};
}

template <class Acc>
PERCBAL_INLINE Vec<Acc> exp2(Vec<Acc> y) {
  const Exp2Parts<Acc> parts = exp2_parts<Acc>(y);
  return fma(parts.scale, parts.excess, parts.scale);
}

#if PERCBAL_VECTOR_BYTES == 64
// AVX-512 splits y into floor(y) and a fraction, and scales by 2^floor(y), in one instruction each.
template <>
PERCBAL_INLINE f32v exp2<float>(f32v y) {
  const f32v f = (f32v)_mm512_maskz_reduce_ps(0xffff, (__m512)y, _MM_FROUND_TO_NEG_INF);
  f32v p = broadcast(2.170225411e-4f);  // 2^f for 0 <= f <= 1 to 2e-9
  p = fma(p, f, broadcast(1.24396882e-3f));
  p = fma(p, f, broadcast(9.678840957e-3f));
  p = fma(p, f, broadcast(5.5483342e-2f));
  p = fma(p, f, broadcast(2.402298363e-1f));
  p = fma(p, f, broadcast(6.931469838e-1f));
  p = fma(p, f, broadcast(1.000000002f));
  return (f32v)_mm512_maskz_scalef_ps(0xffff, (__m512)p, (__m512)y);
}
#endif

// exp(x) for x <= 0, with the same special cases. The product rounds, but so did the difference
// that x is.
template <class Acc>
PERCBAL_INLINE Vec<Acc> exp(Vec<Acc> x) {
  return exp2<Acc>(x * broadcast<Acc>(Simd<Acc>::log2e));
}

// tanh(x) and its slope 1 - tanh(x)^2, both without cancellation, from expm1(-2|x|).
template <class Acc>
PERCBAL_INLINE void tanh_and_slope(Vec<Acc> x, Vec<Acc>& tanh, Vec<Acc>& slope) {
  const Vec<Acc> zero = broadcast<Acc>(0), two = broadcast<Acc>(2);
  const Vec<Acc> y = x * broadcast<Acc>(2 * Simd<Acc>::log2e);
  const Exp2Parts<Acc> parts = exp2_parts<Acc>(x > zero ? -y : y);
  const Vec<Acc> expm1 = fma(parts.scale, parts.excess, parts.scale - 1);
  const Vec<Acc> magnitude = -expm1 / (two + expm1);
  tanh = x < zero ? -magnitude : magnitude;
  slope = 4 * fma(parts.scale, parts.excess, parts.scale) / ((two + expm1) * (two + expm1));
}

}  // namespace percbal::PERCBAL_LEVEL
