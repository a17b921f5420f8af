#pragma once
#include "engine/tensor.h"

namespace fms_accel::ops {

// x * cos + turned(x) * sin for x [batch, tokens, heads, dim] and phases [batch or 1, tokens, 1,
// dim]; dim is even; one floating dtype.
Tensor rotary(const Tensor& x, const Tensor& cos, const Tensor& sin);

}  // namespace fms_accel::ops
