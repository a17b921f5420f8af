#include "ops/cross_entropy.h"

#include "cuda/device.h"
#include "engine/error.h"
#include "ops/copy.h"
#include "ops/elementwise.h"
#include "ops/iteration.h"

namespace fms_accel::ops {
namespace {

// Labels as contiguous int64, -1 where ignored. A device reports a wrong one when its work is
// waited for.
Tensor checked_labels(const Tensor& logits, const Tensor& labels, int64_t ignore_index) {
  check(logits.ndim == 2 && is_floating(logits.dtype),
        "crossEntropy: expected floating logits [rows, classes], found ", name_of(logits.dtype),
        " ", shape_of(logits));
  check(labels.ndim == 1 && labels.shape[0] == logits.shape[0] && !is_floating(labels.dtype),
        "crossEntropy: expected integer labels [", logits.shape[0], "], found ",
        name_of(labels.dtype), " ", shape_of(labels));
  check_same_device("crossEntropy", {&logits, &labels});
  const Tensor wide = cast(labels, DType::kInt64);
  if (wide.device().type == 2) {
    const Tensor result = empty_like(wide);
    cuda::IndexCheck range{"crossEntropy", wide.sizes(), logits.shape[1]};
    range.allows = range.is_label = true;
    range.allowed = ignore_index;
    cuda::check_indices(wide.device().index, wide.data<int64_t>(), wide.numel(),
                        result.data<int64_t>(), range);
    return result;
  }
  int64_t* values = wide.data<int64_t>();
  for (int64_t row = 0; row < wide.numel(); ++row) {
    if (values[row] == ignore_index) {
      values[row] = -1;
    } else {
      check(values[row] >= 0 && values[row] < logits.shape[1], "crossEntropy: label ", values[row],
            " of row ", row, " is out of range for ", logits.shape[1], " classes (rows with label ",
            ignore_index, " are ignored)");
    }
  }
  return wide;
}

// How many labels are not ignored.
int64_t counted_of(const Tensor& labels) {
  const Tensor here = to_device(labels, Device{});
  int64_t counted = 0;
  for (int64_t row = 0; row < here.numel(); ++row) counted += here.data<int64_t>()[row] >= 0;
  return counted;
}

CrossEntropy arguments(const Tensor& logits, const Tensor& labels, const Tensor& logsumexp) {
  CrossEntropy result;
  result.logits = logits.raw();
  result.dtype = logits.dtype;
  result.rows = logits.shape[0];
  result.classes = logits.shape[1];
  result.row_stride = logits.strides[0];
  result.stride = logits.strides[1];
  result.labels = labels.data<int64_t>();
  result.logsumexp = logsumexp.data<float>();
  return result;
}

}  // namespace

CrossEntropyResult cross_entropy(const Tensor& logits, const Tensor& labels, int64_t ignore_index,
                                 bool counts) {
  const Tensor checked = checked_labels(logits, labels, ignore_index);
  CrossEntropyResult result{empty({logits.shape[0]}, DType::kFloat32, logits.device()),
                            empty({logits.shape[0]}, DType::kFloat32, logits.device())};
  if (counts) result.counted = counted_of(checked);
  CrossEntropy c = arguments(logits, checked, result.logsumexp);
  c.losses = result.losses.data<float>();
  if (c.rows > 0 && c.classes > 0) {
    kernels_of(logits).cross_entropy(c);
  } else {
    fill(result.losses, 0);  // no classes: every label is ignored
    fill(result.logsumexp, 0);
  }
  return result;
}

Tensor cross_entropy_gradient(const Tensor& logits, const Tensor& labels, const Tensor& logsumexp,
                              int64_t ignore_index, const Tensor& gradient, double scale) {
  const Tensor checked = checked_labels(logits, labels, ignore_index);
  const int64_t rows = logits.shape[0];
  check(
      logsumexp.dtype == DType::kFloat32 && logsumexp.is_contiguous() && logsumexp.numel() == rows,
      "crossEntropy: expected the logsumexp of the forward pass");
  check(gradient.numel() == 1 || (gradient.ndim == 1 && gradient.shape[0] == rows),
        "crossEntropy: gradient of shape ", shape_of(gradient), " for ", rows, " rows");
  const Tensor scales =
      contiguous(unary(UnaryOp::kAffine, scale, 0, cast(gradient, DType::kFloat32)));
  const Tensor result = empty(logits.sizes(), logits.dtype, logits.device());
  if (result.numel() == 0) return result;
  kernels_of(logits).cross_entropy_gradient(arguments(logits, checked, logsumexp), result.raw(),
                                            scales.data<float>(), scales.numel() == 1 ? 0 : 1);
  return result;
}

Tensor cross_entropy_in_place(const Tensor& logits, const Tensor& labels, int64_t ignore_index) {
  check_writable("crossEntropyInPlace", logits);
  check(logits.is_contiguous(), "crossEntropyInPlace: expected contiguous logits");
  const Tensor checked = checked_labels(logits, labels, ignore_index);
  const Tensor losses = empty({logits.shape[0]}, DType::kFloat32, logits.device());
  const Tensor logsumexp = empty_like(losses);
  CrossEntropy c = arguments(logits, checked, logsumexp);
  c.losses = losses.data<float>();
  if (logits.numel() > 0) {
    kernels_of(logits).cross_entropy_in_place(c, logits.raw());
  } else {
    fill(losses, 0);
  }
  return losses;
}

}  // namespace fms_accel::ops
