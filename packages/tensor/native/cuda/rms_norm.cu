// Root mean square normalisation and its gradients: a block for each row, which is read twice, the
// second time from the cache. Sums and roundings are those of the composed operations (reduce.cu,
// elementwise.cu). The weight's gradient is summed column by column, in segments of rows that are
// joined in order.
#include "cpu/rms_norm.h"
#include "cuda/elements.h"
#include "cuda/kernel_sources.h"
#include "cuda/reduction.h"

namespace fms_accel::cuda {
namespace {

constexpr int64_t kShortRow = 1024;

// 1 / sqrt(mean(x^2) + eps) of the block's row, for every thread.
template <int Threads>
__device__ __forceinline__ float scale_of_row(const void* x, DType dtype, int64_t length, float eps,
                                              bool is_dense) {
  const int64_t base = static_cast<int64_t>(blockIdx.x) * length;
  double sum = 0;
  for (int64_t i = 4 * static_cast<int64_t>(threadIdx.x); i < length; i += 4 * Threads) {
    float values[4] = {};
    load_run(x, dtype, base + i, length - i, is_dense, values);
#pragma unroll
    for (int e = 0; e < 4; ++e) sum += static_cast<double>(__fmul_rn(values[e], values[e]));
  }
  const double mean = block_join<Sum<double>, Threads>(sum) / static_cast<double>(length);
  return 1.0f / sqrtf(__fadd_rn(static_cast<float>(mean), eps));
}

// `is_dense`: rows are read and written four elements at a time.
template <int Threads>
__global__ void __launch_bounds__(Threads) normalise_rows(RmsNorm n, bool is_dense) {
  const int64_t base = static_cast<int64_t>(blockIdx.x) * n.length;
  const float scale = scale_of_row<Threads>(n.x, n.dtype, n.length, n.eps, is_dense);
  for (int64_t i = 4 * static_cast<int64_t>(threadIdx.x); i < n.length; i += 4 * Threads) {
    float values[4] = {}, weights[4] = {};
    load_run(n.x, n.dtype, base + i, n.length - i, is_dense, values);
    load_run(n.weight, n.dtype, i, n.length - i, is_dense, weights);
#pragma unroll
    for (int e = 0; e < 4; ++e)
      values[e] = __fmul_rn(weights[e], rounded(n.dtype, __fmul_rn(values[e], scale)));
    store_run(n.out, n.dtype, base + i, n.length - i, is_dense, values);
  }
}

// With s the row's scale and u = round(weight * gradient): s * u - x * s^3 * mean(u * x).
template <int Threads>
__global__ void __launch_bounds__(Threads)
    gradient_of_rows(RmsNormGradient n, float* scales, bool is_dense) {
  const int64_t base = static_cast<int64_t>(blockIdx.x) * n.length;
  const float scale = scale_of_row<Threads>(n.x, n.dtype, n.length, n.eps, is_dense);
  if (threadIdx.x == 0) scales[blockIdx.x] = scale;
  if (n.x_gradient == nullptr) return;
  const auto read = [&](int64_t i, float(&values)[4], float(&weighted)[4]) {
    float weights[4] = {};
    load_run(n.x, n.dtype, base + i, n.length - i, is_dense, values);
    load_run(n.gradient, n.dtype, base + i, n.length - i, is_dense, weighted);
    load_run(n.weight, n.dtype, i, n.length - i, is_dense, weights);
#pragma unroll
    for (int e = 0; e < 4; ++e) weighted[e] = rounded(n.dtype, __fmul_rn(weighted[e], weights[e]));
  };
  double dot = 0;
  for (int64_t i = 4 * static_cast<int64_t>(threadIdx.x); i < n.length; i += 4 * Threads) {
    float values[4] = {}, weighted[4] = {};
    read(i, values, weighted);
#pragma unroll
    for (int e = 0; e < 4; ++e) dot += static_cast<double>(weighted[e] * values[e]);
  }
  dot = block_join<Sum<double>, Threads>(dot);
  const float slope =
      static_cast<float>(dot / static_cast<double>(n.length)) * (scale * scale * scale);
  for (int64_t i = 4 * static_cast<int64_t>(threadIdx.x); i < n.length; i += 4 * Threads) {
    float values[4] = {}, weighted[4] = {};
    read(i, values, weighted);
#pragma unroll
    for (int e = 0; e < 4; ++e) values[e] = weighted[e] * scale - values[e] * slope;
    store_run(n.x_gradient, n.dtype, base + i, n.length - i, is_dense, values);
  }
}

constexpr int kColumns = 128;  // of a block; a thread each

// sums [segments, length] of gradient * round(x * scale)
__global__ void __launch_bounds__(kColumns)
    sum_segments(RmsNormGradient n, const float* scales, int64_t segment_rows, float* sums) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kColumns + threadIdx.x;
  if (column >= n.length) return;
  const int64_t begin = blockIdx.y * segment_rows, end = min_of(n.rows, begin + segment_rows);
  float sum = 0;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t at = row * n.length + column;
    sum += load<float>(n.gradient, n.dtype, at) *
           rounded(n.dtype, load<float>(n.x, n.dtype, at) * scales[row]);
  }
  sums[blockIdx.y * n.length + column] = sum;
}
__global__ void __launch_bounds__(kColumns)
    join_segments(RmsNormGradient n, int64_t segments, const float* sums) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kColumns + threadIdx.x;
  if (column >= n.length) return;
  float sum = 0;
  for (int64_t s = 0; s < segments; ++s) sum += sums[s * n.length + column];
  store<float>(n.weight_gradient, n.dtype, column, sum);
}

}  // namespace

void rms_norm(const RmsNorm& n) {
  const bool is_short = n.length <= kShortRow;
  const auto address = reinterpret_cast<uintptr_t>(n.x) | reinterpret_cast<uintptr_t>(n.weight) |
                       reinterpret_cast<uintptr_t>(n.out);
  launch(is_short ? normalise_rows<64> : normalise_rows<256>, grid_for(n.rows, 1, INT32_MAX),
         dim3(is_short ? 64 : 256), 0, n, n.length % 4 == 0 && address % 16 == 0);
}

void rms_norm_gradient(const RmsNormGradient& n) {
  const bool is_short = n.length <= kShortRow;
  const auto address = reinterpret_cast<uintptr_t>(n.x) | reinterpret_cast<uintptr_t>(n.weight) |
                       reinterpret_cast<uintptr_t>(n.gradient) |
                       reinterpret_cast<uintptr_t>(n.x_gradient);
  // As many segments as keep the multiprocessors busy; a grid has at most 65535 in y.
  const int64_t segment_rows = max_of(64, ceil_div(n.rows, 65535)),
                segments = ceil_div(n.rows, segment_rows);
  const Scratch scratch(static_cast<size_t>(n.rows + segments * n.length) * sizeof(float));
  float *scales = scratch.as<float>(), *sums = scales + n.rows;
  launch(is_short ? gradient_of_rows<64> : gradient_of_rows<256>, grid_for(n.rows, 1, INT32_MAX),
         dim3(is_short ? 64 : 256), 0, n, scales, n.length % 4 == 0 && address % 16 == 0);
  if (n.weight_gradient == nullptr) return;
  dim3 grid = grid_for(n.length, kColumns, INT32_MAX);
  grid.y = static_cast<unsigned>(segments);
  launch(sum_segments, grid, dim3(kColumns), 0, n, scales, segment_rows, sums);
  grid.y = 1;
  launch(join_segments, grid, dim3(kColumns), 0, n, segments, sums);
}

}  // namespace fms_accel::cuda
