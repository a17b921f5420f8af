#include "ops/copy.h"

#include "cuda/device.h"
#include "engine/error.h"
#include "ops/elementwise.h"
#include "ops/iteration.h"

namespace fms_accel::ops {

void copy_into(const Tensor& target, const Tensor& source) {
  check_writable("copy", target);
  check_same_device("copy", {&target, &source});
  const Shape shape = target.sizes();
  check(broadcast_shape("copy", {&target, &source}) == shape, "copy: shape ", shape_of(source),
        " does not broadcast to ", shape_of(target));
  const Iteration it = iterate(shape, {&target, &source});
  if (it.loop.numel == 0) return;
  kernels_of(target).unary(UnaryOp::kCopy, 0, 0, it.loop, it.operands[0], it.operands[1]);
}

void copy_into_slice(const Tensor& target, int64_t dim, int64_t start, const Tensor& source) {
  const int at = dimension("copyIntoSlice", dim, target.ndim);
  check(source.ndim == target.ndim, "copyIntoSlice: ", shape_of(source), " into ",
        shape_of(target));
  const int64_t length = source.shape[at];
  check(start >= 0 && length <= target.shape[at] && start <= target.shape[at] - length,
        "copyIntoSlice: positions ", start, " to ", start + length, " of dimension ", at, " of ",
        shape_of(target));
  Tensor slice = target;
  slice.offset += start * target.strides[at];
  slice.shape[at] = length;
  copy_into(slice, source);
}

Tensor cast(const Tensor& x, DType dtype) {
  Tensor result = empty(x.sizes(), dtype, x.device());
  copy_into(result, x);
  return result;
}

Tensor to_device(const Tensor& x, Device device) {
  if (x.device() == device) return x;
  const Tensor source = contiguous(x);
  Tensor result = empty(x.sizes(), x.dtype, device);
  cuda::copy(result.raw(), device, source.raw(), x.device(), result.storage->bytes);
  return result;
}

void fill(const Tensor& target, double value) {
  const bool exact_in_float = is_floating(target.dtype);
  const Tensor scalar = empty({}, exact_in_float ? DType::kFloat32 : DType::kInt64);
  if (exact_in_float) {
    *scalar.data<float>() = static_cast<float>(value);
  } else {
    check(value >= -0x1p53 && value <= 0x1p53, "fill: ", value, " is not an integer below 2^53");
    *scalar.data<int64_t>() = static_cast<int64_t>(value);
  }
  copy_into(target, to_device(scalar, target.device()));
}

Tensor cat(const std::vector<Tensor>& tensors, int64_t dim) {
  check(!tensors.empty(), "cat: expected at least one tensor");
  const Tensor& first = tensors[0];
  const int at = dimension("cat", dim, first.ndim);
  DType dtype = first.dtype;
  Shape shape = first.sizes();
  shape[at] = 0;
  for (const Tensor& tensor : tensors) {
    check(tensor.device() == first.device(), "cat: tensors lie on different devices");
    Shape other = tensor.sizes();
    bool fits = tensor.ndim == first.ndim;
    for (int d = 0; fits && d < tensor.ndim; ++d) fits = d == at || other[d] == first.shape[d];
    check(fits, "cat: shapes ", shape_of(first), " and ", shape_of(tensor),
          " differ outside of dimension ", at);
    dtype = promote(dtype, tensor.dtype);
    shape[at] += tensor.shape[at];
  }
  const Tensor result = empty(shape, dtype, first.device());
  Tensor part = result;
  for (const Tensor& tensor : tensors) {
    part.shape[at] = tensor.shape[at];
    if (part.numel() > 0) copy_into(part, tensor);
    part.offset += tensor.shape[at] * result.strides[at];
  }
  return result;
}

}  // namespace fms_accel::ops
