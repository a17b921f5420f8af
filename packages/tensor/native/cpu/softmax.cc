// Softmax and its logarithm along rows, and their gradients. A row is read once from memory and
// kept as float32 in a workspace.
#include "cpu/kernel_sources.h"
#include "cpu/runs.h"
#include "engine/thread_pool.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

constexpr int kRowWorkspace = 0;

Loop row_loop(int64_t length) {
  Loop loop;
  loop.ndim = 1;
  loop.shape[0] = loop.numel = length;
  return loop;
}

Operand row_of(const Loop& kept, const RowOperand& x, int64_t k) {
  Operand row;
  row.dtype = x.kept.dtype;
  row.data = static_cast<char*>(x.kept.data) +
             Position(kept, k).offset(kept, x.kept) * static_cast<int64_t>(item_size(row.dtype));
  row.strides[0] = x.stride;
  return row;
}

template <class Body>
void for_each_row(const Loop& kept, int64_t length, const Body& body) {
  const int64_t rows_per_item = ceil_div(kItem, length);
  parallel_for(ceil_div(kept.numel, rows_per_item), [&](int64_t item, int thread) {
    const int64_t end = min_of(kept.numel, (item + 1) * rows_per_item);
    for (int64_t k = item * rows_per_item; k < end; ++k) body(k, thread);
  });
}

}  // namespace

void softmax(bool logarithm, const Loop& kept, int64_t length, const RowOperand& out,
             const RowOperand& x) {
  const Loop loop = row_loop(length);
  for_each_row(kept, length, [&](int64_t k, int thread) {
    float* values = static_cast<float*>(
        workspace(thread, kRowWorkspace, static_cast<size_t>(length) * sizeof(float)));
    const Operand from = row_of(kept, x, k), to = row_of(kept, out, k);
    float largest = -__builtin_inff();
    for (int64_t at = 0; at < length; at += kRun) {
      const int64_t count = min_of(kRun, length - at);
      const float* loaded = load_run<float>(loop, from, at, at + count, values + at);
      if (loaded != values + at)
        memcpy(values + at, loaded, static_cast<size_t>(count) * sizeof(float));
      largest = Largest<float>::join(largest, join_run<Largest<float>>(values + at, count));
    }
    double total = 0;
    alignas(64) float exponentials[kRun];
    for (int64_t at = 0; at < length; at += kRun) {
      const int64_t count = min_of(kRun, length - at);
      float* run = values + at;
      for (int64_t i = 0; i < count; ++i) run[i] -= largest;
      for (int64_t i = 0; i < count; ++i) exponentials[i] = exp_of(run[i]);
      total += join_run<Add<float, double>>(exponentials, count);
      if (!logarithm) memcpy(run, exponentials, static_cast<size_t>(count) * sizeof(float));
    }
    const auto divisor = static_cast<float>(total),
               subtrahend = static_cast<float>(std::log(total));
    for (int64_t at = 0; at < length; at += kRun) {
      const int64_t count = min_of(kRun, length - at);
      float* run = values + at;
      if (logarithm) {
        for (int64_t i = 0; i < count; ++i) run[i] -= subtrahend;
      } else {
        for (int64_t i = 0; i < count; ++i) run[i] /= divisor;
      }
      store_run<float>(loop, to, at, at + count, run);
    }
  });
}

void softmax_gradient(bool logarithm, const Loop& kept, int64_t length, const RowOperand& out,
                      const RowOperand& y, const RowOperand& gradient) {
  const Loop loop = row_loop(length);
  for_each_row(kept, length, [&](int64_t k, int) {
    alignas(64) float buffer_y[kRun], buffer_g[kRun], result[kRun];
    const Operand to = row_of(kept, out, k), row_y = row_of(kept, y, k),
                  row_g = row_of(kept, gradient, k);
    double total = 0;  // of g for the logarithm, else of g * y
    for (int64_t at = 0; at < length; at += kRun) {
      const int64_t count = min_of(kRun, length - at);
      const float* g = load_run<float>(loop, row_g, at, at + count, buffer_g);
      if (!logarithm) {
        const float* p = load_run<float>(loop, row_y, at, at + count, buffer_y);
        for (int64_t i = 0; i < count; ++i) result[i] = g[i] * p[i];
        g = result;
      }
      total += join_run<Add<float, double>>(g, count);
    }
    const auto sum = static_cast<float>(total);
    for (int64_t at = 0; at < length; at += kRun) {
      const int64_t count = min_of(kRun, length - at);
      const float* p = load_run<float>(loop, row_y, at, at + count, buffer_y);
      const float* g = load_run<float>(loop, row_g, at, at + count, buffer_g);
      if (logarithm) {
        for (int64_t i = 0; i < count; ++i) result[i] = g[i] - exp_of(p[i]) * sum;
      } else {
        for (int64_t i = 0; i < count; ++i) result[i] = p[i] * (g[i] - sum);
      }
      store_run<float>(loop, to, at, at + count, result);
    }
  });
}

}  // namespace fms_accel::FMS_ACCEL_ISA
