#pragma once
#include "cpu/kernels.h"
#include "engine/tensor.h"

namespace fms_accel::ops {

// Reduces `dims` (distinct; sizes become 1 with keepdim, else they go). Sums of integers are int64
// and their means float32; everything else keeps its dtype. Throws Error for the maximum or minimum
// of no elements.
Tensor reduce(ReduceOp op, const Tensor& x, const Shape& dims, bool keepdim);
// int64 indices of the first largest element along `dim` (NaN counts as largest).
Tensor argmax(const Tensor& x, int64_t dim, bool keepdim);
// log of the sum of e^x, in float32; x must be floating.
Tensor logsumexp(const Tensor& x, const Shape& dims, bool keepdim);
// Running sums along `dim`, from its end when `reverse`. Integers give int64.
Tensor cumsum(const Tensor& x, int64_t dim, bool reverse);

}  // namespace fms_accel::ops
