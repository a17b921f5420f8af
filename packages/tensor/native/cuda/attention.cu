// Which kernels a scaled dot-product attention takes: tensor cores (flash_attention.cu) or float32
// (flash_attention_float.cu). Neither holds scores beyond a tile. Backward computes them again from
// q, k and the log-sum-exp of forward, with delta = out · gradient of out for each row (Dao et al.,
// "FlashAttention", 2022, section 3.1).
#include "cuda/elements.h"
#include "cuda/flash_attention.h"
#include "cuda/kernel_sources.h"
#include "cuda/reduction.h"

namespace fms_accel::cuda {
namespace {

constexpr int kThreads = 128;

// deltas [batch, heads, queries]: a warp for each row.
__global__ void __launch_bounds__(kThreads)
    join_rows(AttentionArguments p, int64_t rows, float* deltas) {
  const int64_t row =
      static_cast<int64_t>(blockIdx.x) * (kThreads / 32) + static_cast<int64_t>(threadIdx.x / 32);
  if (row >= rows) return;
  const int64_t query = row % p.queries, head = row / p.queries % p.heads,
                batch = row / p.queries / p.heads;
  const auto at = [&](const AttentionTensor& x) {
    return batch * x.batch_stride + head * x.head_stride + query * x.token_stride;
  };
  const int64_t out_at = at(p.out), gradient_at = at(p.out_gradient);
  float sum = 0;
  for (int64_t d = threadIdx.x % 32; d < p.value_dim; d += 32) {
    sum += load<float>(p.out.data, p.out.dtype, out_at + d) *
           load<float>(p.out_gradient.data, p.out_gradient.dtype, gradient_at + d);
  }
  sum = warp_join<Sum<float>>(sum);
  if (threadIdx.x % 32 == 0) deltas[row] = sum;
}

}  // namespace

void attention_forward(const AttentionArguments& p) {
  is_flash(p) ? flash_attention_forward(p) : float_attention_forward(p);
}

void attention_backward(const AttentionArguments& p) {
  const int64_t rows = p.batch * p.heads * p.queries;
  const Scratch scratch(static_cast<size_t>(rows) * sizeof(float));
  float* deltas = scratch.as<float>();
  if (rows > 0) {
    launch(join_rows, grid_for(rows, kThreads / 32, INT32_MAX), dim3(kThreads), 0, p, rows, deltas);
  }
  is_flash(p) ? flash_attention_backward(p, deltas) : float_attention_backward(p, deltas);
}

}  // namespace fms_accel::cuda
