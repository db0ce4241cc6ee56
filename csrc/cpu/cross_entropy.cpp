// The cross-entropy operators for the CPU key; schemas in percbal_ops/losses/library.py.
#include "core/losses/cross_entropy.h"

#include <optional>
#include <tuple>

#include <torch/csrc/stable/library.h>

#include "checks.h"
#include "cpu/huge_pages.h"
#include "cpu/kept_memory.h"
#include "cpu/logits.h"

namespace percbal {
namespace {

// sum_i a[i] * b[i] over the i that `counts(i)`, in fp64 and in order.
template <class Acc, class Counts>
double weighted_sum(const void* a, int64_t a_stride, const void* b, int64_t n, Counts counts) {
  double total = 0;
  for (int64_t i = 0; i < n; ++i)
    if (counts(i))
      total += static_cast<double>(static_cast<const Acc*>(a)[i * a_stride]) *
               static_cast<const Acc*>(b)[i];
  return total;
}

double only_element(const Tensor& x) {
  const Tensor wide = as_dtype(x, ScalarType::Double);
  return *wide.const_data_ptr<double>();
}

// The inputs of a call, converted where their layout needs it; keeps alive what `args` points into.
class Inputs {
 public:
  Inputs(const Tensor& logits, const Tensor& target, const std::optional<Tensor>& weight,
         int64_t ignore_index, double label_smoothing, double z_loss, double softcap)
      : Inputs(logits) {
    check_matrix(logits, "logits");
    check_float(logits, "logits");
    check_length(target, logits.size(0), "target");
    if (logits.stride(1) != 1) logits_ = torch::stable::contiguous(logits);
    args.classes = logits_.size(1);
    args.row_stride = logits_.stride(0);
    set_options(target, weight, ignore_index, label_smoothing, z_loss, softcap);
  }

  // Logits of target.size(0) <= D rows that lie in tiles in the memory of a tensor (V, D).
  static Inputs tiled(const Tensor& room, int64_t tile, const Tensor& target,
                      const std::optional<Tensor>& weight, int64_t ignore_index,
                      double label_smoothing, double z_loss, double softcap) {
    check_matrix(room, "room");
    check_float(room, "room");
    STD_TORCH_CHECK(room.is_contiguous(), "room must be contiguous to be written in place");
    STD_TORCH_CHECK(tile > 0, "tile must be positive, got ", tile);
    STD_TORCH_CHECK(target.dim() == 1 && target.size(0) <= room.size(1), "room holds ",
                    room.size(1), " rows, target has shape ", shape_of(target));
    Inputs inputs(room);
    inputs.args.classes = room.size(0);
    inputs.args.tile = tile;
    inputs.args.tile_stride = tile * room.size(1);
    inputs.set_options(target, weight, ignore_index, label_smoothing, z_loss, softcap);
    return inputs;
  }

  int64_t rows() const { return target_.size(0); }
  const Tensor& logits() const { return logits_; }

  void set_row_weight(const Tensor& row_weight, const char* name) {
    check_length(row_weight, rows(), name);
    row_weight_ = as_dtype(row_weight, acc);
    args.row_weight = row_weight_.const_data_ptr();
    args.row_weight_stride = row_weight_.stride(0);
  }

  // sum_t row_weight_t loss_t over the rows that count.
  double total() const {
    const auto counts = [&](int64_t row) {
      return args.target[row * args.target_stride] != args.ignore_index;
    };
    return acc == ScalarType::Double
               ? weighted_sum<double>(args.row_weight, args.row_weight_stride, args.loss, rows(),
                                      counts)
               : weighted_sum<float>(args.row_weight, args.row_weight_stride, args.loss, rows(),
                                     counts);
  }

  // (rows, classes), contiguous, not yet written.
  Tensor new_dlogits() {
    const int64_t sizes[] = {rows(), args.classes}, strides[] = {args.classes, 1};
    const size_t bytes = rows() * args.classes * logits_.element_size();
    const Block block = take_block(bytes);
    Tensor dlogits =
        block.data == nullptr
            ? torch::stable::new_empty(logits_, sizes)
            : torch::stable::from_blob(block.data, sizes, strides, logits_.device(),
                                       logits_.scalar_type(), [block](void*) { give_back(block); });
    args.dlogits = dlogits.mutable_data_ptr();
    if (block.data == nullptr) advise_huge_pages(args.dlogits, bytes);
    return dlogits;
  }

  void run(RowsFunction CrossEntropyKernels::* pass) const {
    // core/losses/cross_entropy_level.h, as compiled for this processor
    const auto kernels = cross_entropy_kernels(core_dtype(logits_.scalar_type()), cpu_level());
    const int64_t classes = args.classes > 0 ? args.classes : 1;
    const int64_t grain = (kLogitsPerThread + classes - 1) / classes;
    torch::stable::parallel_for(0, rows(), grain, [&](int64_t begin, int64_t end) {
      (kernels.*pass)(args, begin, end);
    });
  }

  CrossEntropyArgs args{};
  ScalarType acc;

 private:
  explicit Inputs(const Tensor& logits) : acc(accumulate_dtype(logits)), logits_(logits) {}

  void set_options(const Tensor& target, const std::optional<Tensor>& weight,
                   int64_t ignore_index, double label_smoothing, double z_loss, double softcap) {
    target_ = as_dtype(target, ScalarType::Long);
    args.logits = logits_.const_data_ptr();
    args.target = target_.const_data_ptr<int64_t>();
    args.target_stride = target_.stride(0);
    args.ignore_index = ignore_index;
    args.label_smoothing = label_smoothing;
    args.z_loss = z_loss;
    args.softcap = softcap;
    args.class_weight_sum = static_cast<double>(args.classes);
    if (weight.has_value()) set_class_weight(*weight);
    check_targets();
  }

  void set_class_weight(const Tensor& weight) {
    check_length(weight, args.classes, "weight");
    class_weight_ = torch::stable::contiguous(as_dtype(weight, acc));
    args.class_weight = class_weight_.const_data_ptr();
    args.class_weight_sum = only_element(torch::stable::sum(
        class_weight_, std::nullopt, false, ScalarType::Double));
  }

  void check_targets() const {
    for (int64_t row = 0; row < rows(); ++row) {
      const int64_t y = args.target[row * args.target_stride];
      if (y == args.ignore_index) continue;
      STD_TORCH_CHECK(y >= 0 && y < args.classes, "Target ", y, " is out of bounds.");
    }
  }

  Tensor logits_, target_, class_weight_, row_weight_;
};

Tensor new_rows(Inputs& inputs, std::initializer_list<int64_t> shape, void*& data) {
  Tensor out = torch::stable::new_empty(inputs.logits(), shape, inputs.acc);
  data = out.mutable_data_ptr();
  return out;
}

std::tuple<Tensor, Tensor, Tensor> token_cross_entropy(
    Tensor logits, Tensor target, std::optional<Tensor> weight, int64_t ignore_index,
    double label_smoothing, double z_loss, double softcap) {
  Inputs inputs(logits, target, weight, ignore_index, label_smoothing, z_loss, softcap);
  const int64_t n = inputs.rows();
  Tensor loss = new_rows(inputs, {n}, inputs.args.loss);
  Tensor grad_sq = new_rows(inputs, {n}, inputs.args.grad_sq);
  Tensor stats = new_rows(inputs, {n, 4}, inputs.args.stats);
  inputs.run(&CrossEntropyKernels::forward);
  return {loss, grad_sq, stats};
}

Tensor token_cross_entropy_backward(
    Tensor row_grad, Tensor logits, Tensor target, std::optional<Tensor> weight, Tensor stats,
    int64_t ignore_index, double label_smoothing, double z_loss, double softcap) {
  Inputs inputs(logits, target, weight, ignore_index, label_smoothing, z_loss, softcap);
  inputs.set_row_weight(row_grad, "row_grad");
  STD_TORCH_CHECK(stats.dim() == 2 && stats.size(0) == inputs.rows() && stats.size(1) == 4,
                  "stats must be (", inputs.rows(), ", 4), got shape ", shape_of(stats));
  const Tensor stats_acc = torch::stable::contiguous(as_dtype(stats, inputs.acc));
  inputs.args.stats = stats_acc.data_ptr();
  Tensor dlogits = inputs.new_dlogits();
  inputs.run(&CrossEntropyKernels::backward);
  return dlogits;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> weighted_cross_entropy(
    Tensor logits, Tensor target, Tensor row_weight, std::optional<Tensor> weight,
    int64_t ignore_index, double label_smoothing, double z_loss, double softcap, bool need_grad) {
  Inputs inputs(logits, target, weight, ignore_index, label_smoothing, z_loss, softcap);
  inputs.set_row_weight(row_weight, "row_weight");
  const int64_t n = inputs.rows();
  Tensor loss = new_rows(inputs, {n}, inputs.args.loss);
  Tensor grad_sq = new_rows(inputs, {n}, inputs.args.grad_sq);
  Tensor dlogits = need_grad ? inputs.new_dlogits() : torch::stable::new_empty(logits, {0});
  inputs.run(&CrossEntropyKernels::forward);
  void* data = nullptr;
  Tensor total = new_rows(inputs, {}, data);
  const double sum = inputs.total();
  if (inputs.acc == ScalarType::Double)
    *static_cast<double*>(data) = sum;
  else
    *static_cast<float*>(data) = static_cast<float>(sum);
  return {total, loss, grad_sq, dlogits};
}

// The gradient of a row takes the place of its logits: each is read before it is written.
std::tuple<Tensor, Tensor> run_in_place(Inputs& inputs, Tensor logits, const Tensor& row_weight) {
  inputs.set_row_weight(row_weight, "row_weight");
  const int64_t n = inputs.rows();
  Tensor loss = new_rows(inputs, {n}, inputs.args.loss);
  Tensor grad_sq = new_rows(inputs, {n}, inputs.args.grad_sq);
  inputs.args.dlogits = logits.mutable_data_ptr();
  inputs.run(&CrossEntropyKernels::forward);
  return {loss, grad_sq};
}

std::tuple<Tensor, Tensor> weighted_cross_entropy_(
    Tensor logits, Tensor target, Tensor row_weight, std::optional<Tensor> weight,
    int64_t ignore_index, double label_smoothing, double z_loss, double softcap) {
  STD_TORCH_CHECK(logits.is_contiguous(), "logits must be contiguous to be written in place");
  Inputs inputs(logits, target, weight, ignore_index, label_smoothing, z_loss, softcap);
  return run_in_place(inputs, logits, row_weight);
}

// The same for logits in tiles; see CrossEntropyArgs.
std::tuple<Tensor, Tensor> tiled_weighted_cross_entropy_(
    Tensor room, Tensor target, Tensor row_weight, std::optional<Tensor> weight,
    int64_t ignore_index, double label_smoothing, double z_loss, double softcap, int64_t tile) {
  Inputs inputs = Inputs::tiled(room, tile, target, weight, ignore_index, label_smoothing, z_loss,
                                softcap);
  return run_in_place(inputs, room, row_weight);
}

void advise_huge_pages_(Tensor x) {
  advise_huge_pages(x.mutable_data_ptr(), x.numel() * x.element_size());
}

int64_t empty_cache() { return static_cast<int64_t>(drop_kept_block()); }

void scale_(Tensor x, Tensor factor) {
  check_float(x, "x");
  STD_TORCH_CHECK(factor.numel() == 1, "factor must hold one number, got shape ",
                  shape_of(factor));
  const double f = only_element(factor);
  if (f == 1) return;
  Tensor dense = torch::stable::contiguous(x);
  void* data = dense.mutable_data_ptr();
  const auto kernels = cross_entropy_kernels(core_dtype(x.scalar_type()), cpu_level());
  torch::stable::parallel_for(0, x.numel(), kLogitsPerThread, [&](int64_t begin, int64_t end) {
    kernels.scale(data, begin, end, f);
  });
  if (!x.is_contiguous()) torch::stable::copy_(x, dense);
}

STABLE_TORCH_LIBRARY_IMPL(percbal, CPU, m) {
  m.impl("token_cross_entropy", TORCH_BOX(&token_cross_entropy));
  m.impl("token_cross_entropy_backward", TORCH_BOX(&token_cross_entropy_backward));
  m.impl("weighted_cross_entropy", TORCH_BOX(&weighted_cross_entropy));
  m.impl("weighted_cross_entropy_", TORCH_BOX(&weighted_cross_entropy_));
  m.impl("tiled_weighted_cross_entropy_", TORCH_BOX(&tiled_weighted_cross_entropy_));
  m.impl("advise_huge_pages_", TORCH_BOX(&advise_huge_pages_));
  m.impl("scale_", TORCH_BOX(&scale_));
}

// The key that serves operators without tensors.
STABLE_TORCH_LIBRARY_IMPL(percbal, BackendSelect, m) {
  m.impl("empty_cache", TORCH_BOX(&empty_cache));
}

}  // namespace
}  // namespace percbal
