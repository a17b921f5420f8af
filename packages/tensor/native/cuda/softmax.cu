// Softmax and its logarithm along rows, and their gradients: a block for each row, one warp where
// rows are short.
#include "cuda/elements.h"
#include "cuda/kernel_sources.h"
#include "cuda/reduction.h"

namespace fms_accel::cuda {
namespace {

constexpr int64_t kShortRow = 512;

struct Rows {
  Walk<1> kept;
  void* data;
  DType dtype;
  int64_t stride;
  __device__ __forceinline__ float at(int64_t base, int64_t i) const {
    return load<float>(data, dtype, base + i * stride);
  }
};

Rows rows_of(const Loop& kept, const RowOperand& x) {
  return {walk_of(kept, x.kept.strides), x.kept.data, x.kept.dtype, x.stride};
}

template <int Threads>
__global__ void __launch_bounds__(Threads)
    softmax_rows(bool logarithm, int64_t length, Rows out, Rows x) {
  const int64_t from = x.kept.offset(blockIdx.x), to = out.kept.offset(blockIdx.x);
  float own = -infinity();
  for (int64_t i = threadIdx.x; i < length; i += Threads)
    own = Largest<float>::join(own, x.at(from, i));
  const float largest = block_join<Largest<float>, Threads>(own);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < length; i += Threads)
    sum += static_cast<double>(expf(x.at(from, i) - largest));
  const double total = block_join<Sum<double>, Threads>(sum);
  const float divisor = static_cast<float>(total), subtrahend = static_cast<float>(log(total));
  for (int64_t i = threadIdx.x; i < length; i += Threads) {
    const float shifted = x.at(from, i) - largest;
    store<float>(out.data, out.dtype, to + i * out.stride,
                 logarithm ? shifted - subtrahend : expf(shifted) / divisor);
  }
}

template <int Threads>
__global__ void __launch_bounds__(Threads)
    softmax_gradient_rows(bool logarithm, int64_t length, Rows out, Rows y, Rows gradient) {
  const int64_t to = out.kept.offset(blockIdx.x), y_from = y.kept.offset(blockIdx.x),
                g_from = gradient.kept.offset(blockIdx.x);
  double own = 0;  // of g for the logarithm, else of g * y
  for (int64_t i = threadIdx.x; i < length; i += Threads) {
    const float g = gradient.at(g_from, i);
    own += static_cast<double>(logarithm ? g : g * y.at(y_from, i));
  }
  const float sum = static_cast<float>(block_join<Sum<double>, Threads>(own));
  for (int64_t i = threadIdx.x; i < length; i += Threads) {
    const float p = y.at(y_from, i), g = gradient.at(g_from, i);
    store<float>(out.data, out.dtype, to + i * out.stride,
                 logarithm ? g - expf(p) * sum : p * (g - sum));
  }
}

}  // namespace

void softmax(bool logarithm, const Loop& kept, int64_t length, const RowOperand& out,
             const RowOperand& x) {
  const bool is_short = length <= kShortRow;
  launch(is_short ? softmax_rows<32> : softmax_rows<256>, grid_for(kept.numel, 1, INT32_MAX),
         dim3(is_short ? 32 : 256), 0, logarithm, length, rows_of(kept, out), rows_of(kept, x));
}

void softmax_gradient(bool logarithm, const Loop& kept, int64_t length, const RowOperand& out,
                      const RowOperand& y, const RowOperand& gradient) {
  const bool is_short = length <= kShortRow;
  launch(is_short ? softmax_gradient_rows<32> : softmax_gradient_rows<256>,
         grid_for(kept.numel, 1, INT32_MAX), dim3(is_short ? 32 : 256), 0, logarithm, length,
         rows_of(kept, out), rows_of(kept, y), rows_of(kept, gradient));
}

}  // namespace fms_accel::cuda
