#pragma once
#include "cpu/kernels.h"
#include "engine/tensor.h"

namespace fms_accel::ops {

// In place, in row-major order of `target`, which must be floating and not overlap itself.
void uniform_into(const Tensor& target, double low, double high, Randomness random);
void normal_into(const Tensor& target, double mean, double deviation, Randomness random);
// x with each element set to 0 with probability p, the others scaled by 1 / (1 - p). The same
// `random` drops the same elements.
Tensor dropout(const Tensor& x, double p, Randomness random);

}  // namespace fms_accel::ops
