#pragma once
#include "engine/tensor.h"

namespace fms_accel::ops {

// silu(gate) * up, of one shape and floating dtype.
Tensor swiglu(const Tensor& gate, const Tensor& up);

struct SwigluGradients {
  Tensor gate, up;
};
SwigluGradients swiglu_gradients(const Tensor& gate, const Tensor& up, const Tensor& gradient);

}  // namespace fms_accel::ops
