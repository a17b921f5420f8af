// Root mean square normalisation in one pass over the rows of x; see src/ops/rms-norm.ts.
#pragma once
#include <cstdint>

#include "engine/dtype.h"

namespace fms_accel {

// out = weight * round(x / sqrt(mean(x^2) + eps)), row by row, statistics in float32; `round` is to
// the dtype, which all three share. Contiguous [rows, length]; weight [length].
struct RmsNorm {
  int64_t rows = 0, length = 0;
  const void* x = nullptr;
  const void* weight = nullptr;
  void* out = nullptr;
  DType dtype = DType::kFloat32;
  float eps = 0;
};

// The gradients of that, x given again. Either may be null.
struct RmsNormGradient {
  int64_t rows = 0, length = 0;
  const void* x = nullptr;
  const void* weight = nullptr;
  const void* gradient = nullptr;   // of out
  void* x_gradient = nullptr;       // [rows, length]
  void* weight_gradient = nullptr;  // [length]
  DType dtype = DType::kFloat32;
  float eps = 0;
};

}  // namespace fms_accel
