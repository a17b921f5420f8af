#pragma once
#include "cpu/kernels.h"
#include "engine/tensor.h"

namespace fms_accel::ops {

// The dtype of an arithmetic result: float32 over bfloat16 and float16 (those two together give
// float32), any float over any integer, int64 over int32 over uint8 over bool (torch's table
// without its value-dependent rules).
DType promote(DType a, DType b);

Tensor unary(UnaryOp op, double a, double b, const Tensor& x);
// Comparisons and logical ops give bool. Gradient ops give the dtype of their second operand, the
// incoming gradient.
Tensor binary(BinaryOp op, const Tensor& x, const Tensor& y);
Tensor where(const Tensor& condition, const Tensor& x, const Tensor& y);
// target += source (broadcast to target), in place; what gradient accumulation uses.
void add_into(const Tensor& target, const Tensor& source);

}  // namespace fms_accel::ops
