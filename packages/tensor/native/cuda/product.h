// Batched products of strided matrices on the device (matmul.cu).
#pragma once
#include "cpu/matmul.h"

namespace fms_accel::cuda {

// Element (row, column) of matrix (o, i) of the batch is data[o * outer_stride + i *
// inner_stride + row * row_stride + column * column_stride].
struct ProductOperand {
  const void* data = nullptr;
  DType dtype = DType::kFloat32;
  int64_t row_stride = 0, column_stride = 1, outer_stride = 0, inner_stride = 0;
};

// C = alpha * A · B + beta * C + bias for each of outer * inner matrices; sums in float32.
struct Product {
  int64_t m = 0, n = 0, k = 0, outer = 1, inner = 1;
  ProductOperand a, b, c;  // columns of C are contiguous
  // Where tail_k > 0: A' [m, tail_k] · B' [tail_k, n] is added to A · B.
  ProductOperand a_tail, b_tail;
  int64_t tail_k = 0;
  Compute compute = Compute::kFloat32;
  float alpha = 1, beta = 0;   // beta = 0 never reads C
  const void* bias = nullptr;  // [n]
  DType bias_dtype = DType::kFloat32;
};

void multiply(const Product& product);

}  // namespace fms_accel::cuda
