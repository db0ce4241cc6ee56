// Loads and stores that convert: fp32, bf16 and fp16 in memory to fp32 lanes, fp64 to fp64 lanes.
// Included once per level, after vectors.h.
namespace percbal::PERCBAL_LEVEL {

template <class T>
using AccOf = typename Accumulate<T>::type;

template <class V, class T>
PERCBAL_INLINE V load_bits(const T* from) {
  V v;
  memcpy(&v, from, sizeof v);
  return v;
}

PERCBAL_INLINE f32v load(const float* from) { return load_bits<f32v>(from); }
PERCBAL_INLINE f64v load(const double* from) { return load_bits<f64v>(from); }
PERCBAL_INLINE f32v load(const bf16* from) {
#if PERCBAL_VECTOR_BYTES == 64
  return (f32v)((u32v)_mm512_maskz_cvtepu16_epi32(0xffff, load_bits<__m256i>(from)) << 16);
#else
  return (f32v)(__builtin_convertvector(load_bits<u16v>(from), u32v) << 16);
#endif
}

PERCBAL_INLINE f32v load(const f16* from) {
#if PERCBAL_VECTOR_BYTES == 64
  return (f32v)_mm512_maskz_cvtph_ps(0xffff, load_bits<__m256i>(from));
#elif PERCBAL_VECTOR_BYTES == 32
  return (f32v)_mm256_cvtph_ps(load_bits<__m128i>(from));
#else
  const u32v half = __builtin_convertvector(load_bits<u16v>(from), u32v);
  const u32v magnitude = half & 0x7fff;
  // moving the bits up divides by 2^112, for normal and subnormal numbers alike
  const u32v finite = (u32v)((f32v)(magnitude << 13) * 0x1p112f);
  const u32v special = (magnitude << 13) | 0x7f800000;
  return (f32v)((magnitude >= 0x7c00 ? special : finite) | ((half & 0x8000) << 16));
#endif
}

PERCBAL_INLINE void store(float* to, f32v v) { memcpy(to, &v, sizeof v); }
PERCBAL_INLINE void store(double* to, f64v v) { memcpy(to, &v, sizeof v); }

PERCBAL_INLINE void store(bf16* to, f32v v) {
  const u32v bits = (u32v)v;
  const u32v rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;  // to nearest, ties to even
  const u32v nan = u32v{} + 0x7fc0;
  const u16v out = __builtin_convertvector(v == v ? rounded : nan, u16v);
  memcpy(to, &out, sizeof out);
}

PERCBAL_INLINE void store(f16* to, f32v v) {
#if PERCBAL_VECTOR_BYTES == 64
  const __m256i out = _mm512_maskz_cvtps_ph(0xffff, (__m512)v, _MM_FROUND_TO_NEAREST_INT);
#elif PERCBAL_VECTOR_BYTES == 32
  const __m128i out = _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT);
#else
  const u32v sign = (u32v)v & 0x80000000;
  const u32v magnitude = (u32v)v ^ sign;
  const u32v half = (u32v)(f32v{} + 0.5f);
  // adding 0.5 leaves a subnormal half's mantissa, correctly rounded, in the low bits
  const u32v subnormal = (u32v)((f32v)magnitude + (f32v)half) - half;
  const u32v normal = (magnitude + 0xc8000fff + ((magnitude >> 13) & 1)) >> 13;
  const u32v infinity = u32v{} + 0x7c00, nan = u32v{} + 0x7e00;
  u32v bits = magnitude < 0x38800000 ? subnormal : normal;
  bits = magnitude >= 0x47800000 ? (magnitude > 0x7f800000 ? nan : infinity) : bits;
  const u16v out = __builtin_convertvector(bits | (sign >> 16), u16v);
#endif
  memcpy(to, &out, sizeof out);
}

// Two vectors at once. Those of bf16 hold the even and the odd elements, which takes two operations to
// unpack where keeping their order takes four, and spares the narrowing on the way back. A NaN whose
// high half is all ones comes back as -0 or 0; no arithmetic makes one from a bf16 or a default NaN.
template <class Acc>
struct Pair {
  Vec<Acc> first, second;
};

template <class T>
PERCBAL_INLINE Pair<AccOf<T>> load_pair(const T* from) {
  if constexpr (std::is_same_v<T, bf16>) {
    const u32v both = load_bits<u32v>(from);
    return {(f32v)(both << 16), (f32v)(both & 0xffff0000)};
  } else {
    return {load(from), load(from + Simd<AccOf<T>>::width)};
  }
}

template <class T>
PERCBAL_INLINE void store_pair(T* to, Vec<AccOf<T>> first, Vec<AccOf<T>> second) {
  if constexpr (std::is_same_v<T, bf16>) {
    const u32v even = (u32v)first, odd = (u32v)second;
    const u32v low = (even + 0x7fff + ((even >> 16) & 1)) >> 16;
    const u32v high = (odd + 0x7fff + ((odd >> 16) & 1)) & 0xffff0000;
    const u32v both = low | high;
    memcpy(to, &both, sizeof both);
  } else {
    store(to, first);
    store(to + Simd<AccOf<T>>::width, second);
  }
}

// The first `count` lanes only; the other lanes of a load are -inf.
template <class T>
PERCBAL_INLINE Vec<AccOf<T>> load_some(const T* from, int64_t count) {
  T lanes[Simd<AccOf<T>>::width];
  for (T& lane : lanes) lane = minus_infinity<T>();
  copy_bytes(lanes, from, count * sizeof(T));
  return load(lanes);
}

template <class T>
PERCBAL_INLINE void store_some(T* to, Vec<AccOf<T>> v, int64_t count) {
  T lanes[Simd<AccOf<T>>::width];
  store(lanes, v);
  copy_bytes(to, lanes, count * sizeof(T));
}

}  // namespace percbal::PERCBAL_LEVEL
