#pragma once
#include "engine/tensor.h"

namespace fms_accel::ops {

// target = source, converted to target's dtype; source broadcasts to target's shape.
void copy_into(const Tensor& target, const Tensor& source);
// The same into the part of target that begins at `start` of dimension `dim` and is as long as
// source is there.
void copy_into_slice(const Tensor& target, int64_t dim, int64_t start, const Tensor& source);
Tensor cast(const Tensor& x, DType dtype);
// A contiguous copy on another device.
Tensor to_device(const Tensor& x, Device device);
// Every element set to `value` (converted as a double, so that int64 values below 2^53 are exact).
void fill(const Tensor& target, double value);
// The tensors one after the other along `dim`; shapes agree elsewhere, dtypes promote.
Tensor cat(const std::vector<Tensor>& tensors, int64_t dim);

}  // namespace fms_accel::ops
