// Rotation of heads by the phases of their positions: a thread turns four pairs of one head. Each
// product is rounded as the composed operations round it.
#include "cpu/rotary.h"
#include "cuda/elements.h"
#include "cuda/kernel_sources.h"

namespace fms_accel::cuda {
namespace {

constexpr int kThreads = 256;

// `is_dense`: all accesses are of four elements.
__global__ void __launch_bounds__(kThreads) turn_heads(Rotary r, int64_t items, bool is_dense) {
  const int64_t half = r.dim / 2, groups = (half + 3) / 4;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t item = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; item < items;
       item += step) {
    const int64_t d = item % groups * 4, head = item / groups % r.heads,
                  at = item / groups / r.heads, row = at / r.tokens, token = at % r.tokens;
    const int64_t from =
        row * r.x_batch_stride + token * r.x_token_stride + head * r.x_head_stride + d;
    const int64_t phase = row * r.phase_batch_stride + token * r.phase_token_stride + d;
    const int64_t to = (at * r.heads + head) * r.dim + d, count = half - d;
    float x[2][4] = {}, cosines[2][4] = {}, sines[2][4] = {}, turned[2][4];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      load_run(r.x, r.dtype, from + h * half, count, is_dense, x[h]);
      load_run(r.cos, r.dtype, phase + h * half, count, is_dense, cosines[h]);
      load_run(r.sin, r.dtype, phase + h * half, count, is_dense, sines[h]);
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float other = h == 0 ? -x[1][e] : x[0][e];
        turned[h][e] = __fadd_rn(rounded(r.dtype, __fmul_rn(x[h][e], cosines[h][e])),
                                 rounded(r.dtype, __fmul_rn(other, sines[h][e])));
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h)
      store_run(r.out, r.dtype, to + h * half, count, is_dense, turned[h]);
  }
}

}  // namespace

void rotary(const Rotary& r) {
  const auto is_even = [](int64_t stride) { return stride % 4 == 0; };
  const auto address = reinterpret_cast<uintptr_t>(r.x) | reinterpret_cast<uintptr_t>(r.cos) |
                       reinterpret_cast<uintptr_t>(r.sin) | reinterpret_cast<uintptr_t>(r.out);
  const bool is_dense = address % 16 == 0 && is_even(r.dim / 2) && is_even(r.x_batch_stride) &&
                        is_even(r.x_token_stride) && is_even(r.x_head_stride) &&
                        is_even(r.phase_batch_stride) && is_even(r.phase_token_stride);
  const int64_t items = r.batch * r.tokens * r.heads * ceil_div(r.dim / 2, 4);
  launch(turn_heads, grid_for(items, kThreads), dim3(kThreads), 0, r, items, is_dense);
}

}  // namespace fms_accel::cuda
