// Vectors of PERCBAL_VECTOR_BYTES bytes in the namespace percbal::PERCBAL_LEVEL.
//
// Written with the vector extension that g++ and clang share, so one text serves every level; only
// what the compiler cannot be trusted to find (fused multiply-add, max, fp16) is an intrinsic.
// Included once per level, after the standard headers, by cross_entropy_<level>.cpp.
#define PERCBAL_INLINE inline __attribute__((always_inline))

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
  static constexpr float ln2_hi = 0.693145751953125f, ln2_lo = 1.42860682031e-6f;
  static constexpr float least = -88.03f;  // rounds to 2^-127, where exp is flushed to 0
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
  static constexpr double ln2_hi = 0.69314718055966295651, ln2_lo = 2.8235290563031577e-13;
  static constexpr double least = -709.1;
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

template <class V>
PERCBAL_INLINE auto lane_max(V v) {
  auto best = v[0];
  for (unsigned i = 1; i < sizeof(V) / sizeof(v[0]); ++i) best = v[i] > best ? v[i] : best;
  return best;
}

// Pairwise: halves until one lane is left.
template <class V>
PERCBAL_INLINE auto lane_sum(V v) {
  constexpr unsigned width = sizeof(V) / sizeof(v[0]);
  decltype(v[0] + v[0]) lanes[width];
  memcpy(lanes, &v, sizeof v);
  for (unsigned half = width / 2; half > 0; half /= 2)
    for (unsigned i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

PERCBAL_INLINE f32v exp_tail(f32v r) {
  f32v p = broadcast(1.38144679e-3f);
  p = fma(p, r, broadcast(8.36878041e-3f));
  p = fma(p, r, broadcast(4.16683942e-2f));
  p = fma(p, r, broadcast(1.66665201e-1f));
  return fma(p, r, broadcast(4.99999934e-1f));
}

PERCBAL_INLINE f64v exp_tail(f64v r) {
  f64v p = broadcast(2.49999605218542773e-8);
  p = fma(p, r, broadcast(2.76303785799035669e-7));
  p = fma(p, r, broadcast(2.7557587356301083e-6));
  p = fma(p, r, broadcast(2.48014927629133678e-5));
  p = fma(p, r, broadcast(1.98412695047511295e-4));
  p = fma(p, r, broadcast(1.38888889439225222e-3));
  p = fma(p, r, broadcast(8.3333333334956295e-3));
  p = fma(p, r, broadcast(4.16666666665291891e-2));
  p = fma(p, r, broadcast(1.66666666666664102e-1));
  return fma(p, r, broadcast(5.00000000000001072e-1));
}

// exp(x) = scale (1 + excess), with scale a power of two and excess = exp(r) - 1, |r| <= ln(2)/2.
template <class Acc>
struct ExpParts {
  Vec<Acc> scale, excess;
};

// For x <= 0 (above ~88, or ~709 in fp64, the result is meaningless). NaN gives NaN; results below
// the smallest normal number are flushed to 0, exactly 0 for -inf. exp_tail is the minimax fit of
// (exp(r) - 1 - r) / r^2: 3e-9 relative to exp in fp32, 4e-18 in fp64.
template <class Acc>
PERCBAL_INLINE ExpParts<Acc> exp_parts(Vec<Acc> x) {
  using S = Simd<Acc>;
  x = max(broadcast<Acc>(S::least), x);
  // the low bits of t are the exponent field of 2^round(x / ln 2)
  const Vec<Acc> magic = broadcast<Acc>(S::magic + S::bias);
  const Vec<Acc> t = fma(x, broadcast<Acc>(S::log2e), magic);
  const Vec<Acc> n = t - magic;
  Vec<Acc> r = fma(n, broadcast<Acc>(-S::ln2_hi), x);
  r = fma(n, broadcast<Acc>(-S::ln2_lo), r);
  return {(Vec<Acc>)((typename S::Bits)t << S::mantissa), fma(r * r, exp_tail(r), r)};
}

template <class Acc>
PERCBAL_INLINE Vec<Acc> exp(Vec<Acc> x) {
  const ExpParts<Acc> parts = exp_parts<Acc>(x);
  return fma(parts.scale, parts.excess, parts.scale);
}

// tanh(x) and its slope 1 - tanh(x)^2, both without cancellation, from expm1(-2|x|).
template <class Acc>
PERCBAL_INLINE void tanh_and_slope(Vec<Acc> x, Vec<Acc>& tanh, Vec<Acc>& slope) {
  const Vec<Acc> zero = broadcast<Acc>(0), two = broadcast<Acc>(2);
  const ExpParts<Acc> parts = exp_parts<Acc>(x > zero ? -two * x : two * x);
  const Vec<Acc> expm1 = fma(parts.scale, parts.excess, parts.scale - 1);
  const Vec<Acc> magnitude = -expm1 / (two + expm1);
  tanh = x < zero ? -magnitude : magnitude;
  slope = 4 * fma(parts.scale, parts.excess, parts.scale) / ((two + expm1) * (two + expm1));
}

}  // namespace percbal::PERCBAL_LEVEL
