#pragma once
#include "engine/tensor.h"

namespace fms_accel::ops {

// weight [n] * round(x / sqrt(mean(x^2) + eps)) over the last dimension of x [..., n]; one floating
// dtype.
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps);

}  // namespace fms_accel::ops
