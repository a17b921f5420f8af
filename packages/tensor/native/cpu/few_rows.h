// y = x * weight^T + bias for few rows of x and a weight [n, k] that lies in memory row by row:
// what decoding token by token spends its time on. The weight is read once, in the order of memory,
// at the speed of memory.
//
// Sums are float32, in an order of their own (cpu/gemm.h has another): lanes of a vector and two
// vectors side by side along k, then joined in pairs. The bits of an element depend on its row of
// x, its row of the weight, k and the instruction set; never on m, n or the number of threads.
#pragma once
#include <cstdint>

#include "cpu/gemm.h"

namespace fms_accel {

constexpr int64_t kMostFewRows = 8;

struct FewRowsArguments {
  int64_t m = 0, n = 0, k = 0;  // 1 <= m <= kMostFewRows, 1 <= n
  // Floating dtypes; columns are contiguous, strides between rows are in elements.
  const void* x = nullptr;
  DType x_dtype = DType::kFloat32;
  int64_t x_row_stride = 0;
  const void* weight = nullptr;
  DType weight_dtype = DType::kFloat32;
  int64_t weight_row_stride = 0;
  void* y = nullptr;
  DType y_dtype = DType::kFloat32;
  int64_t y_row_stride = 0;
  Compute compute = Compute::kFloat32;  // what x and weight are rounded to
  const void* bias = nullptr;           // [n]
  DType bias_dtype = DType::kFloat32;
};

}  // namespace fms_accel
