#pragma once
#include "cpu/gemm.h"
#include "engine/tensor.h"

namespace fms_accel::ops {

struct MatmulOptions {
  DType dtype = DType::kFloat32;        // of the result
  Compute compute = Compute::kFloat32;  // what operands are rounded to; sums are float32
  float alpha = 1;
  const Tensor* bias = nullptr;  // [n]
  // a' [m, r] and b' [r, n]: alpha * a' · b' is added. Only for matrices, and not with prepacked_b.
  const Tensor* tail_a = nullptr;
  const Tensor* tail_b = nullptr;
  const Tensor* prepacked_b = nullptr;  // what `prepack` made of this very b; read in its place
};

// alpha * (a · b + a' · b') + bias for a [..., m, k] and b [..., k, n]; leading dimensions
// broadcast. Any floating dtypes and strides.
Tensor matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options);

// x · weightᵀ + bias for x [..., k] and weight [n, k]: [..., n]. `options.alpha` is 1. With
// `streams`, few rows of x are multiplied in the order of cpu/few_rows.h.
Tensor linear(const Tensor& x, const Tensor& weight, const MatmulOptions& options, bool streams);

// target = alpha * a · b + beta * target, in place. target [..., m, n] is contiguous and has the
// broadcast leading dimensions.
void matmul_into(const Tensor& target, const Tensor& a, const Tensor& b, float beta,
                 const MatmulOptions& options);

// b [k, n] in the order in which products read it, as uint8 [bytes]: for a matrix that is
// multiplied often. Products with it have the same bits. It belongs to the instruction set and the
// compute type.
Tensor prepack(const Tensor& b, Compute compute);

}  // namespace fms_accel::ops
