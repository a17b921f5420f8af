// Cross entropy of rows of logits, a block for each row.
#include "cuda/elements.h"
#include "cuda/kernel_sources.h"
#include "cuda/reduction.h"

namespace fms_accel::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) cross_entropy_rows(CrossEntropy c) {
  const int64_t row = blockIdx.x, label = c.labels[row];
  if (label < 0) {
    if (threadIdx.x == 0) c.losses[row] = c.logsumexp[row] = 0;
    return;
  }
  const int64_t base = row * c.row_stride;
  float own = -infinity();
  for (int64_t i = threadIdx.x; i < c.classes; i += kThreads)
    own = Largest<float>::join(own, load<float>(c.logits, c.dtype, base + i * c.stride));
  const float largest = block_join<Largest<float>, kThreads>(own);
  const float shift = fabsf(largest) == infinity() ? 0.0f : largest;
  double sum = 0;
  for (int64_t i = threadIdx.x; i < c.classes; i += kThreads)
    sum += static_cast<double>(expf(load<float>(c.logits, c.dtype, base + i * c.stride) - shift));
  sum = block_join<Sum<double>, kThreads>(sum);
  if (threadIdx.x == 0) {
    const double logsumexp = static_cast<double>(shift) + log(sum);
    const float chosen = load<float>(c.logits, c.dtype, base + label * c.stride);
    c.losses[row] = static_cast<float>(logsumexp - static_cast<double>(chosen));
    c.logsumexp[row] = static_cast<float>(logsumexp);
  }
}

__global__ void __launch_bounds__(kThreads)
    gradient_rows(CrossEntropy c, void* out, const float* scales, int64_t scale_stride) {
  const int64_t row = blockIdx.x, label = c.labels[row];
  const float logsumexp = c.logsumexp[row],
              scale = scales == nullptr ? 1.0f : scales[row * scale_stride];
  for (int64_t i = threadIdx.x; i < c.classes; i += kThreads) {
    float gradient = 0;
    if (label >= 0) {
      gradient =
          expf(load<float>(c.logits, c.dtype, row * c.row_stride + i * c.stride) - logsumexp);
      if (i == label) gradient -= 1.0f;
      gradient *= scale;
    }
    store<float>(out, c.dtype, row * c.classes + i, gradient);
  }
}

}  // namespace

void cross_entropy(const CrossEntropy& c) {
  launch(cross_entropy_rows, grid_for(c.rows, 1, INT32_MAX), dim3(kThreads), 0, c);
}

void cross_entropy_gradient(const CrossEntropy& c, void* out, const float* scales,
                            int64_t scale_stride) {
  launch(gradient_rows, grid_for(c.rows, 1, INT32_MAX), dim3(kThreads), 0, c, out, scales,
         scale_stride);
}

// An element is read and written by one thread.
void cross_entropy_in_place(const CrossEntropy& c, void* logits) {
  cross_entropy(c);
  cross_entropy_gradient(c, logits, nullptr, 0);
}

}  // namespace fms_accel::cuda
