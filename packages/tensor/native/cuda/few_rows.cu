// y = x * weight^T + bias for few rows of x: a warp for each row of the weight, which is read once,
// four neighbouring elements a lane. Each lane sums its elements of k in rising order, and lanes
// are joined in pairs: the bits depend on the row of x, the row of the weight and k.
#include "cpu/few_rows.h"
#include "cuda/elements.h"
#include "cuda/kernel_sources.h"
#include "cuda/reduction.h"

namespace fms_accel::cuda {
namespace {

constexpr int kThreads = 128;

// `is_dense`: all rows of both operands are read four elements at a time.
template <int Rows>
__global__ void __launch_bounds__(kThreads) multiply_few_rows(FewRowsArguments p, bool is_dense) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  if (column >= p.n) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const bool in_bf16 = p.compute == Compute::kBFloat16;
  float sums[Rows] = {};
  for (int64_t i = 4 * lane; i < p.k; i += 4 * 32) {
    float weights[4] = {};
    load_run(p.weight, p.weight_dtype, column * p.weight_row_stride + i, p.k - i, is_dense,
             weights);
    if (in_bf16) {
#pragma unroll
      for (int e = 0; e < 4; ++e) weights[e] = rounded(DType::kBFloat16, weights[e]);
    }
#pragma unroll
    for (int row = 0; row < Rows; ++row) {
      if (row >= p.m) continue;
      float values[4] = {};
      load_run(p.x, p.x_dtype, row * p.x_row_stride + i, p.k - i, is_dense, values);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float value = in_bf16 ? rounded(DType::kBFloat16, values[e]) : values[e];
        sums[row] += value * weights[e];
      }
    }
  }
#pragma unroll
  for (int row = 0; row < Rows; ++row) {
    if (row >= p.m) continue;
    float sum = warp_join<Sum<float>>(sums[row]);
    if (lane != 0) continue;
    if (p.bias != nullptr) sum += load<float>(p.bias, p.bias_dtype, column);
    store<float>(p.y, p.y_dtype, row * p.y_row_stride + column, sum);
  }
}

}  // namespace

void few_rows(const FewRowsArguments& p) {
  const auto address = reinterpret_cast<uintptr_t>(p.x) | reinterpret_cast<uintptr_t>(p.weight);
  const bool is_dense =
      address % 16 == 0 && p.k % 4 == 0 && p.x_row_stride % 4 == 0 && p.weight_row_stride % 4 == 0;
  const auto kernel = p.m == 1   ? multiply_few_rows<1>
                      : p.m == 2 ? multiply_few_rows<2>
                      : p.m <= 4 ? multiply_few_rows<4>
                                 : multiply_few_rows<kMostFewRows>;
  launch(kernel, grid_for(p.n, kThreads / 32, INT32_MAX), dim3(kThreads), 0, p, is_dense);
}

}  // namespace fms_accel::cuda
