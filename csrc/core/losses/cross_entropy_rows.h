// The loops over a row, for one instruction set; included once per level after vectors_memory.h.
//
// A block of a row is read from memory once: its maximum and its sums are taken while it is in the
// first-level cache. The gradient reads the row a second time, from the second-level cache. Block
// sums run in lanes of acc and are added up in fp64, so their error does not grow with the row.
namespace percbal::PERCBAL_LEVEL {

constexpr int kPairs = 2;  // pairs of vectors per step: four chains hide the latency of an fma
constexpr int kSteps = 32;  // per block: the longest chain of additions in acc

template <class T>
constexpr int64_t kPair = 2 * Simd<AccOf<T>>::width;  // logits in a pair
template <class T>
constexpr int64_t kStep = kPairs * kPair<T>;
template <class T>
constexpr int64_t kBlock = kSteps * kStep<T>;  // 2048 logits of 512-bit vectors: 8 KiB of fp32

// Adds S1 and S2 of `count` logits, a multiple of kStep. `next` is prefetched meanwhile.
template <class T>
PERCBAL_INLINE void add_block(const T* x, int64_t count, const T* next, NontargetSums& sums) {
  using Acc = AccOf<T>;
  Vec<Acc> best[2 * kPairs];
  for (auto& lanes : best) lanes = broadcast<Acc>(-__builtin_inf());
  for (int64_t i = 0; i < count; i += kStep<T>)
    for (int k = 0; k < kPairs; ++k) {
      const Pair<Acc> z = load_pair(x + i + k * kPair<T>);
      best[2 * k] = max(z.first, best[2 * k]);
      best[2 * k + 1] = max(z.second, best[2 * k + 1]);
    }
  const double max_logit = lane_max(max(max(best[0], best[1]), max(best[2], best[3])));
  if (max_logit > sums.max_logit) sums.raise_max(max_logit);

  const Vec<Acc> shift = broadcast<Acc>(sums.shift());
  Vec<Acc> s1[2 * kPairs] = {}, s2[2 * kPairs] = {};
  const auto add = [&](int k, Vec<Acc> z) PERCBAL_LAMBDA {
    const Vec<Acc> e = exp<Acc>(z - shift);
    s1[k] += e;
    s2[k] = fma(e, e, s2[k]);
  };
  for (int64_t i = 0; i < count; i += kStep<T>)
    for (int k = 0; k < kPairs; ++k) {
      const int64_t at = i + k * kPair<T>;
      for (unsigned line = 0; line < kPair<T> * sizeof(T); line += 64)
        __builtin_prefetch(reinterpret_cast<const char*>(next + at) + line);
      const Pair<Acc> z = load_pair(x + at);
      add(2 * k, z.first);
      add(2 * k + 1, z.second);
    }
  sums.s1 += lane_sum((s1[0] + s1[1]) + (s1[2] + s1[3]));
  sums.s2 += lane_sum((s2[0] + s2[1]) + (s2[2] + s2[3]));
}

// Adds the non-target classes among `classes` logits of a row, the plain case. The block with the
// target, and a last block that is not whole, are copied so that -inf can stand where nothing is to
// be added. `next` is what will be read after them.
template <class T>
void add_plain(const T* row, int64_t classes, int64_t target, const T* next, NontargetSums& sums) {
  alignas(64) T copy[kBlock<T>];
  for (int64_t begin = 0; begin < classes; begin += kBlock<T>) {
    const int64_t count = classes - begin < kBlock<T> ? classes - begin : kBlock<T>;
    const int64_t padded = (count + kStep<T> - 1) / kStep<T> * kStep<T>;
    const T* x = row + begin;
    const bool has_target = target >= begin && target < begin + count;
    if (has_target || padded != count) {
      for (int64_t i = padded - kStep<T>; i < padded; ++i) copy[i] = minus_infinity<T>();
      copy_bytes(copy, x, count * sizeof(T));
      if (has_target) copy[target - begin] = minus_infinity<T>();
      x = copy;
    }
    add_block(x, padded, begin + count < classes ? row + begin + count : next, sums);
  }
}

// dz_i = factor exp(z_i - shift), for all i: the caller overwrites the target's.
template <class T>
void plain_gradient(const T* row, T* out, int64_t classes, double shift, double factor) {
  using Acc = AccOf<T>;
  const Vec<Acc> m = broadcast<Acc>(shift), f = broadcast<Acc>(factor);
  const auto store_gradient = [&](const Pair<Acc>& z, T* to) PERCBAL_LAMBDA {
    store_pair(to, f * exp<Acc>(z.first - m), f * exp<Acc>(z.second - m));
  };
  const auto write_pair = [&](const T* from, T* to) PERCBAL_LAMBDA {
    store_gradient(load_pair(from), to);
  };
  if (classes < kPair<T>) {
    T lanes[kPair<T>];
    for (T& lane : lanes) lane = minus_infinity<T>();
    copy_bytes(lanes, row, classes * sizeof(T));
    write_pair(lanes, lanes);
    copy_bytes(out, lanes, classes * sizeof(T));
    return;
  }
  // The last logits together with some before them, whose gradient is written a second time: read
  // before anything is written, since out may be row.
  const Pair<Acc> last = load_pair(row + classes - kPair<T>);
  int64_t i = 0;
  for (; i + kStep<T> <= classes; i += kStep<T>)
    for (int k = 0; k < kPairs; ++k) write_pair(row + i + k * kPair<T>, out + i + k * kPair<T>);
  for (; i + kPair<T> <= classes; i += kPair<T>) write_pair(row + i, out + i);
  if (i < classes) store_gradient(last, out + classes - kPair<T>);
}

}  // namespace percbal::PERCBAL_LEVEL
