// Products of strided dense matrices, batched: what linear layers, their gradients and matmul need.
#pragma once
#include <cstdint>

#include "cpu/gemm.h"

namespace fms_accel {

// Element (row, column) of matrix i is data[i * batch_stride + row * row_stride + column *
// column_stride]. Strides are in elements; a batch_stride of 0 uses one matrix for all.
struct MatmulOperand {
  const void* data = nullptr;
  DType dtype = DType::kFloat32;  // a floating dtype
  int64_t row_stride = 0, column_stride = 0, batch_stride = 0;
};

// C_i[m,n] = alpha * A_i[m,k] * B_i[k,n] + beta * C_i + bias[n] for each i of the batch; see
// cpu/gemm.h on sums and dtypes. k = 0 gives beta * C + bias. C must not overlap the operands, nor
// the matrices of its batch each other.
struct MatmulArguments {
  int64_t m = 0, n = 0, k = 0, batch = 1;
  MatmulOperand a, b;
  // Where tail_k > 0: C also gets alpha * A'_i[m,tail_k] * B'_i[tail_k,n], a low-rank product as a
  // rule, without a pass over C of its own. `k` counts A's columns alone, in whole steps
  // (GemmLayout::values_per_step).
  MatmulOperand a_tail, b_tail;
  int64_t tail_k = 0;
  const void* prepacked_b = nullptr;  // in place of b, for the whole batch
  void* c = nullptr;
  DType c_dtype = DType::kFloat32;
  int64_t c_row_stride = 0, c_batch_stride = 0;  // columns of C are contiguous
  Compute compute = Compute::kFloat32;
  float alpha = 1, beta = 0;
  const void* bias = nullptr;  // [n], the same for the whole batch
  DType bias_dtype = DType::kFloat32;
};

}  // namespace fms_accel
