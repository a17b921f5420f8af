#pragma once
#include <utility>

#include "engine/tensor.h"

namespace fms_accel::ops {

// weight [n] * round(x / sqrt(mean(x^2) + eps)) over the last dimension of x [..., n]; one floating
// dtype.
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps);

// The gradients of x and of weight, from that of the result; the others are left empty.
std::pair<Tensor, Tensor> rms_norm_gradients(const Tensor& x, const Tensor& weight,
                                             const Tensor& gradient, double eps, bool of_x,
                                             bool of_weight);

}  // namespace fms_accel::ops
