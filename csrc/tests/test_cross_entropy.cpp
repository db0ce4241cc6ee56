// Every instruction set of this processor against the textbook formula in fp64, on buffers that end
// exactly where the data does: an access beyond them is for the address sanitizer to find.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <type_traits>
#include <vector>

#include "core/losses/cross_entropy.h"
#include "core/simd/float16.h"
#include "tests/check.h"

using namespace percbal;

namespace {

// Values that all four dtypes hold exactly: multiples of 1/8 below 8.
template <class T>
T from_double(double x) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(x);
  } else {
    const float f = static_cast<float>(x);
    uint32_t bits;
    std::memcpy(&bits, &f, 4);
    if (std::is_same_v<T, bf16> || x == 0) return {static_cast<uint16_t>(bits >> 16)};
    const uint32_t exponent = ((bits >> 23) & 0xff) - 112, mantissa = (bits >> 13) & 0x3ff;
    return {static_cast<uint16_t>((bits >> 31 << 15) | (exponent << 10) | mantissa)};
  }
}

template <class T>
double to_double(T x) {
  if constexpr (std::is_floating_point_v<T>) {
    return x;
  } else if constexpr (std::is_same_v<T, bf16>) {
    const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
    float f;
    std::memcpy(&f, &bits, 4);
    return f;
  } else {
    const int exponent = (x.bits >> 10) & 31, mantissa = x.bits & 0x3ff;
    const double size = exponent == 0 ? std::ldexp(mantissa, -24)
                                      : std::ldexp(1024 + mantissa, exponent - 25);
    return x.bits >> 15 ? -size : size;
  }
}

struct Options {
  double label_smoothing = 0, z_loss = 0, softcap = 0;
  bool weighted = false;
};

// loss, and dl/dz in grad, of one row.
double textbook(const std::vector<double>& z, int64_t y, const std::vector<double>& w, Options o,
                std::vector<double>& grad) {
  const size_t n = z.size();
  std::vector<double> u(n), slope(n, 1.0);
  double sum = 0, weight_sum = 0, spread = 0;
  for (size_t i = 0; i < n; ++i) {
    u[i] = o.softcap ? o.softcap * std::tanh(z[i] / o.softcap) : z[i];
    if (o.softcap) slope[i] = 1 - (u[i] / o.softcap) * (u[i] / o.softcap);
    sum += std::exp(u[i]);
    weight_sum += w[i];
  }
  const double lse = std::log(sum), share = o.label_smoothing / n;
  const double mass = (1 - o.label_smoothing) * w[y] + share * weight_sum + 2 * o.z_loss * lse;
  grad.resize(n);
  for (size_t i = 0; i < n; ++i) {
    spread += w[i] * (lse - u[i]);
    const double b = share * w[i] + (static_cast<int64_t>(i) == y ? (1 - o.label_smoothing) * w[i] : 0);
    grad[i] = slope[i] * (mass * std::exp(u[i] - lse) - b);
  }
  return (1 - o.label_smoothing) * w[y] * (lse - u[y]) + share * spread + o.z_loss * lse * lse;
}

template <class T>
void check_rows(Dtype dtype, CpuLevel level, int64_t classes, Options o) {
  using Acc = typename Accumulate<T>::type;
  constexpr int64_t rows = 3;
  // the first row's target is first, the second's last, the third row is ignored
  const std::vector<int64_t> target = {0, classes - 1, -100};
  std::mt19937 random(static_cast<unsigned>(classes));
  std::uniform_int_distribution<int> eighths(-63, 63);

  const auto logits = std::make_unique<T[]>(rows * classes);
  for (int64_t i = 0; i < rows * classes; ++i) logits[i] = from_double<T>(eighths(random) / 8.0);
  const auto class_weight = std::make_unique<Acc[]>(classes);
  std::vector<double> w(classes, 1.0);
  double weight_sum = 0;
  for (int64_t i = 0; i < classes; ++i) {
    if (o.weighted) w[i] = (1 + (i % 7)) / 4.0;
    class_weight[i] = static_cast<Acc>(w[i]);
    weight_sum += w[i];
  }
  const Acc row_weight = static_cast<Acc>(0.5);
  std::vector<Acc> loss(rows), grad_sq(rows), stats(4 * rows);
  const auto forward = std::make_unique<T[]>(rows * classes);
  const auto backward = std::make_unique<T[]>(rows * classes);

  CrossEntropyArgs args{};
  args.logits = logits.get();
  args.classes = args.row_stride = classes;
  args.target = target.data();
  args.target_stride = 1;
  args.class_weight = o.weighted ? class_weight.get() : nullptr;
  args.class_weight_sum = weight_sum;
  args.row_weight = &row_weight;
  args.loss = loss.data();
  args.grad_sq = grad_sq.data();
  args.stats = stats.data();
  args.dlogits = forward.get();
  args.ignore_index = -100;
  args.label_smoothing = o.label_smoothing;
  args.z_loss = o.z_loss;
  args.softcap = o.softcap;
  const CrossEntropyKernels kernels = cross_entropy_kernels(dtype, level);
  kernels.forward(args, 0, rows);
  args.dlogits = backward.get();
  kernels.backward(args, 0, rows);

  // in tiles, a gap of three after each, the gradient over the logits
  const int64_t tile = 1 + classes / 3;
  const auto tiles = std::make_unique<T[]>((classes / tile + 1) * (rows * tile + 3));
  args.tile = tile;
  args.tile_stride = rows * tile + 3;
  const auto tiled = [&](int64_t row, int64_t i) -> T& {
    const int64_t first = i - i % tile, width = std::min(tile, classes - first);
    return tiles[i / tile * args.tile_stride + row * width + i % tile];
  };
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < classes; ++i) tiled(row, i) = logits[row * classes + i];
  std::vector<Acc> tiled_loss(rows), tiled_sq(rows);
  args.logits = args.dlogits = tiles.get();
  args.loss = tiled_loss.data();
  args.grad_sq = tiled_sq.data();
  args.stats = nullptr;
  kernels.forward(args, 0, rows);

  const double tolerance = std::is_same_v<T, double> ? 1e-13 : 2e-6;
  const double rounding = std::is_same_v<T, bf16> ? 4e-3 : std::is_same_v<T, f16> ? 5e-4 : tolerance;
  for (int64_t row = 0; row < rows; ++row) {
    std::vector<double> z(classes), grad(classes);
    for (int64_t i = 0; i < classes; ++i) z[i] = to_double(logits[row * classes + i]);
    const bool ignored = target[row] == -100;
    const double expected = ignored ? 0.0 : textbook(z, target[row], w, o, grad);
    CHECK_CLOSE(loss[row], expected, tolerance);
    CHECK_CLOSE(tiled_loss[row], expected, tolerance);
    double square = 0;
    for (int64_t i = 0; i < classes; ++i) {
      square += grad[i] * grad[i];
      CHECK_CLOSE(to_double(forward[row * classes + i]), 0.5 * grad[i], rounding);
      CHECK_CLOSE(to_double(backward[row * classes + i]), 0.5 * grad[i], rounding);
      CHECK_CLOSE(to_double(tiled(row, i)), 0.5 * grad[i], rounding);
    }
    CHECK_CLOSE(grad_sq[row], square, tolerance);
    CHECK_CLOSE(tiled_sq[row], square, tolerance);
  }
}

template <class T>
void check_scale(Dtype dtype, CpuLevel level) {
  for (int64_t n : {0, 1, 15, 16, 17, 100}) {
    const auto x = std::make_unique<T[]>(n);
    for (int64_t i = 0; i < n; ++i) x[i] = from_double<T>(i % 8 * 0.25);
    cross_entropy_kernels(dtype, level).scale(x.get(), 0, n, 0.5);
    for (int64_t i = 0; i < n; ++i) CHECK(to_double(x[i]) == i % 8 * 0.125);
  }
}

template <class T>
void check_dtype(Dtype dtype, CpuLevel level) {
  std::vector<int64_t> vocabularies = {127, 128, 129, 511, 512, 513, 2047, 2048, 2049, 4133};
  for (int64_t classes = 1; classes <= 70; ++classes) vocabularies.push_back(classes);
  for (int64_t classes : vocabularies) {
    check_rows<T>(dtype, level, classes, {});
    check_rows<T>(dtype, level, classes, {.z_loss = 0.01, .weighted = true});
    check_rows<T>(dtype, level, classes, {.label_smoothing = 0.1});
    check_rows<T>(dtype, level, classes, {.label_smoothing = 0.1, .weighted = true});
    check_rows<T>(dtype, level, classes, {.softcap = 3});
    check_rows<T>(dtype, level, classes, {0.1, 0.01, 3, true});
  }
  check_scale<T>(dtype, level);
}

}  // namespace

int main() {
  for (int level = 0; level <= static_cast<int>(cpu_level()); ++level) {
    check_dtype<float>(Dtype::f32, static_cast<CpuLevel>(level));
    check_dtype<double>(Dtype::f64, static_cast<CpuLevel>(level));
    check_dtype<bf16>(Dtype::bf16, static_cast<CpuLevel>(level));
    check_dtype<f16>(Dtype::f16, static_cast<CpuLevel>(level));
  }
  return 0;
}
