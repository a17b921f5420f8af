#pragma once
#include "engine/tensor.h"

namespace fms_accel::ops {

// Softmax (or its logarithm) along `dim`, computed in float32, stored as `dtype`, which must be
// floating.
Tensor softmax(const Tensor& x, int64_t dim, bool logarithm, DType dtype);
// The gradient of x, as `dtype`, from the result `y` and its gradient.
Tensor softmax_gradient(const Tensor& y, const Tensor& gradient, int64_t dim, bool logarithm,
                        DType dtype);

}  // namespace fms_accel::ops
