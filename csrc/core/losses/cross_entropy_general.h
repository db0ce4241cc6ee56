// The loops over a row with softcap or label smoothing; included once per level.
// Slower than the plain loops: every lane carries a mask, and with a softcap a tanh.
namespace percbal::PERCBAL_LEVEL {

template <class T>
constexpr int64_t kGeneralBlock = kSteps * Simd<AccOf<T>>::width;

template <class Acc>
PERCBAL_INLINE typename Simd<Acc>::Int lane_numbers() {
  typename Simd<Acc>::Int lanes = {};
  for (int i = 0; i < Simd<Acc>::width; ++i) lanes[i] = i;
  return lanes;
}

// (M1) for one vector.
template <class Acc, bool Cap>
PERCBAL_INLINE void cap_lanes(Vec<Acc> z, Acc softcap, Vec<Acc>& u, Vec<Acc>& slope) {
  u = z;
  slope = broadcast<Acc>(1);
  if constexpr (Cap) {
    tanh_and_slope<Acc>(z / softcap, u, slope);
    u = u * softcap;
  }
}

// Up to kGeneralBlock<T> logits of a row with their class weights.
template <class T>
struct GeneralBlock {
  using Acc = AccOf<T>;
  const T* logits;
  const Acc* weight;  // null: all 1
  int64_t count;
  int64_t target;  // where the target is in this block, or -1

  PERCBAL_INLINE Vec<Acc> load_logits(int64_t i) const {
    return i + Simd<Acc>::width <= count ? load(logits + i) : load_some(logits + i, count - i);
  }
  PERCBAL_INLINE Vec<Acc> load_weight(int64_t i) const {
    if (weight == nullptr) return broadcast<Acc>(1);
    return i + Simd<Acc>::width <= count ? load(weight + i) : load_some(weight + i, count - i);
  }
  PERCBAL_INLINE typename Simd<Acc>::Int is_nontarget(int64_t i) const {
    const auto lane = lane_numbers<Acc>();
    using Lane = decltype(lane[0] + lane[0]);
    const Lane end = static_cast<Lane>(count - i), at = static_cast<Lane>(target - i);
    return (lane < end) & (lane != at);
  }
};

template <class T, bool Cap>
void add_general_block(const GeneralBlock<T>& block, AccOf<T> softcap, NontargetSums& sums) {
  using Acc = AccOf<T>;
  constexpr int width = Simd<Acc>::width;
  const Vec<Acc> zero = broadcast<Acc>(0), nothing = broadcast<Acc>(-__builtin_inf());
  Vec<Acc> u[kSteps], slope[kSteps], best = nothing;
  for (int64_t i = 0; i < block.count; i += width) {
    cap_lanes<Acc, Cap>(block.load_logits(i), softcap, u[i / width], slope[i / width]);
    best = max(block.is_nontarget(i) ? u[i / width] : nothing, best);
  }
  const double max_logit = lane_max(best);
  if (max_logit > sums.max_logit) sums.raise_max(max_logit);

  const Vec<Acc> shift = broadcast<Acc>(sums.shift());
  Vec<Acc> s1 = zero, s2 = zero, s3 = zero, s4 = zero, gap = zero, gap_weight = zero;
  for (int64_t i = 0; i < block.count; i += width) {
    const auto nontarget = block.is_nontarget(i);
    const Vec<Acc> s = nontarget ? slope[i / width] : zero;
    const Vec<Acc> w = nontarget ? block.load_weight(i) : zero;
    const Vec<Acc> e = nontarget ? exp<Acc>(u[i / width] - shift) : zero;
    const Vec<Acc> se = s * e, sw = s * w;
    s1 += e;
    s2 = fma(se, se, s2);
    s3 = fma(se, sw, s3);
    s4 = fma(sw, sw, s4);
    gap += nontarget ? w * (shift - u[i / width]) : zero;
    gap_weight += w;
  }
  sums.s1 += lane_sum(s1);
  sums.s2 += lane_sum(s2);
  sums.s3 += lane_sum(s3);
  sums.s4 += lane_sum(s4);
  sums.gap += lane_sum(gap);
  sums.gap_weight += lane_sum(gap_weight);
}

// Adds the non-target classes among `classes` logits of a row with their class weights.
template <class T, bool Cap>
void add_general(const T* row, const AccOf<T>* weight, int64_t classes, int64_t target,
                 AccOf<T> softcap, NontargetSums& sums) {
  for (int64_t begin = 0; begin < classes; begin += kGeneralBlock<T>) {
    const int64_t left = classes - begin;
    const int64_t count = left < kGeneralBlock<T> ? left : kGeneralBlock<T>;
    const bool has_target = target >= begin && target < begin + count;
    const GeneralBlock<T> block{row + begin, weight ? weight + begin : nullptr, count,
                         has_target ? target - begin : -1};
    add_general_block<T, Cap>(block, softcap, sums);
  }
}

// dz_i = s_i (nontarget e_i - uniform w_i), for all i: the caller overwrites the target's.
template <class T, bool Cap>
void general_gradient(const T* row, T* out, const AccOf<T>* weight, int64_t classes,
                      AccOf<T> softcap, double max_logit, double nontarget, double uniform) {
  using Acc = AccOf<T>;
  constexpr int width = Simd<Acc>::width;
  const GeneralBlock<T> block{row, weight, classes, -1};
  const Vec<Acc> m = broadcast<Acc>(max_logit), r = broadcast<Acc>(nontarget);
  const Vec<Acc> c = broadcast<Acc>(uniform);
  for (int64_t i = 0; i < classes; i += width) {
    Vec<Acc> u, slope;
    cap_lanes<Acc, Cap>(block.load_logits(i), softcap, u, slope);
    Vec<Acc> grad = r * exp<Acc>(u - m);
    // without smoothing the weights stay out of it: an infinite one times 0 would be NaN
    if (uniform != 0) grad = grad - c * block.load_weight(i);
    grad = grad * slope;
    const int64_t left = classes - i;
    left >= width ? store(out + i, grad) : store_some(out + i, grad, left);
  }
}

}  // namespace percbal::PERCBAL_LEVEL
