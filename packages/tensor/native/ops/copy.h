#pragma once
#include "engine/tensor.h"

namespace fms_accel::ops {

// target = source, converted to target's dtype; source broadcasts to target's shape.
void copy_into(const Tensor& target, const Tensor& source);
Tensor cast(const Tensor& x, DType dtype);
// A contiguous copy on another device.
Tensor to_device(const Tensor& x, Device device);
// Every element set to `value` (converted as a double, so that int64 values below 2^53 are exact).
void fill(const Tensor& target, double value);
// The tensors one after the other along `dim`; shapes agree elsewhere, dtypes promote.
Tensor cat(const std::vector<Tensor>& tensors, int64_t dim);

}  // namespace fms_accel::ops
