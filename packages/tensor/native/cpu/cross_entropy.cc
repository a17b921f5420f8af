// Cross entropy of rows of logits: the forward pass reads them once, the gradient reads and writes
// them once; together they read and write a row while it lies in the second-level cache.
#include "cpu/kernel_sources.h"
#include "cpu/runs.h"
#include "engine/thread_pool.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

Loop row_loop(int64_t length) {
  Loop loop;
  loop.ndim = 1;
  loop.shape[0] = loop.numel = length;
  return loop;
}

Operand row_of(const void* data, DType dtype, int64_t row, int64_t row_stride, int64_t stride) {
  Operand operand;
  operand.dtype = dtype;
  operand.data = static_cast<char*>(const_cast<void*>(data)) +
                 row * row_stride * static_cast<int64_t>(item_size(dtype));
  operand.strides[0] = stride;
  return operand;
}

// Logits of row `row`.
Operand logits_of(const CrossEntropy& c, int64_t row) {
  return row_of(c.logits, c.dtype, row, c.row_stride, c.stride);
}

void loss_of_row(const CrossEntropy& c, int64_t row) {
  const int64_t label = c.labels[row];
  c.losses[row] = c.logsumexp[row] = 0;
  if (label < 0) return;
  const Loop loop = row_loop(c.classes);
  const Operand logits = logits_of(c, row);
  const double logsumexp = sum_exponentials(loop, logits).log();
  float storage[8];
  const float chosen = *load_run<float>(loop, logits, label, label + 1, storage);
  c.losses[row] = static_cast<float>(logsumexp - static_cast<double>(chosen));
  c.logsumexp[row] = static_cast<float>(logsumexp);
}

void gradient_of_row(const CrossEntropy& c, int64_t row, void* out, float scale) {
  alignas(64) float buffer[kRun], result[kRun];
  const Loop loop = row_loop(c.classes);
  const int64_t label = c.labels[row];
  const Operand logits = logits_of(c, row), target = row_of(out, c.dtype, row, c.classes, 1);
  const float logsumexp = c.logsumexp[row];
  for (int64_t at = 0; at < c.classes; at += kRun) {
    const int64_t count = min_of(kRun, c.classes - at);
    if (label < 0) {
      for (int64_t i = 0; i < count; ++i) result[i] = 0;
    } else {
      const float* values = load_run<float>(loop, logits, at, at + count, buffer);
      for (int64_t i = 0; i < count; ++i) result[i] = exp_of(values[i] - logsumexp);
      if (label >= at && label < at + count) result[label - at] -= 1.0f;
      for (int64_t i = 0; i < count; ++i) result[i] *= scale;
    }
    store_run<float>(loop, target, at, at + count, result);
  }
}

template <class Body>
void for_each_row(const CrossEntropy& c, const Body& body) {
  const int64_t rows_per_item = ceil_div(kItem, c.classes);
  parallel_for(ceil_div(c.rows, rows_per_item), [&](int64_t item, int) {
    const int64_t end = min_of(c.rows, (item + 1) * rows_per_item);
    for (int64_t row = item * rows_per_item; row < end; ++row) body(row);
  });
}

}  // namespace

void cross_entropy(const CrossEntropy& c) {
  for_each_row(c, [&](int64_t row) { loss_of_row(c, row); });
}

void cross_entropy_gradient(const CrossEntropy& c, void* out, const float* scales,
                            int64_t scale_stride) {
  for_each_row(c, [&](int64_t row) { gradient_of_row(c, row, out, scales[row * scale_stride]); });
}

void cross_entropy_in_place(const CrossEntropy& c, void* logits) {
  for_each_row(c, [&](int64_t row) {
    loss_of_row(c, row);
    gradient_of_row(c, row, logits, 1.0f);
  });
}

}  // namespace fms_accel::FMS_ACCEL_ISA
