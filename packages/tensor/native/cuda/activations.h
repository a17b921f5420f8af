// Activations that more than one kernel computes: each has one form, so that fused kernels have the
// bits of the composed operations.
#pragma once
#include "cuda/gpu.h"

namespace fms_accel::cuda {

__device__ __forceinline__ float sigmoid_of(float x) { return 1.0f / (1.0f + expf(-x)); }
__device__ __forceinline__ float silu_of(float x) { return __fmul_rn(x, sigmoid_of(x)); }
// The gradient of x, from that of silu(x).
__device__ __forceinline__ float silu_gradient_of(float x, float gradient) {
  const float s = sigmoid_of(x);
  return gradient * s * (1.0f + x * (1.0f - s));
}

}  // namespace fms_accel::cuda
