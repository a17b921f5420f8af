// Rotation of heads by the phases of their positions; see src/ops/rotary.ts.
#pragma once
#include <cstdint>

#include "engine/dtype.h"

namespace fms_accel {

// out = x * cos + turned(x) * sin for x [batch, tokens, heads, dim], where turned(x) is (-x2, x1)
// for the halves x1 and x2 of the last dimension. Each product is rounded to the dtype, which all
// operands share. The last dimension is contiguous everywhere, and `out` as a whole. Strides are in
// elements; a batch stride of 0 uses one sequence of phases for all rows.
struct Rotary {
  int64_t batch = 0, tokens = 0, heads = 0, dim = 0;
  const void* x = nullptr;
  int64_t x_batch_stride = 0, x_token_stride = 0, x_head_stride = 0;
  const void* cos = nullptr;
  const void* sin = nullptr;
  int64_t phase_batch_stride = 0, phase_token_stride = 0;
  void* out = nullptr;
  DType dtype = DType::kFloat32;
};

}  // namespace fms_accel
