// What an optimiser does to a list of tensors, in one pass over all of them: norm, scaling, AdamW.
#include <algorithm>
#include <atomic>

#include "cpu/array.h"
#include "cpu/kernel_sources.h"
#include "cpu/runs.h"
#include "engine/thread_pool.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

// Items of at most kItem elements, each of one tensor: body(item, tensor, begin, end).
template <class NumelOf, class Body>
void for_each_piece_of_list(int64_t count, const NumelOf& numel_of, const Body& body) {
  Array<int64_t> first_items(count + 1);
  for (int64_t t = 0; t < count; ++t)
    first_items[t + 1] = first_items[t] + ceil_div(numel_of(t), kItem);
  parallel_for(first_items[count], [&](int64_t item, int) {
    const auto after = std::upper_bound(first_items.begin(), first_items.end(), item);
    const int64_t tensor = after - first_items.begin() - 1;
    const int64_t begin = (item - first_items[tensor]) * kItem;
    body(item, tensor, begin, min_of(begin + kItem, numel_of(tensor)));
  });
}

int64_t item_count(const FlatTensor* tensors, int64_t count) {
  int64_t items = 0;
  for (int64_t t = 0; t < count; ++t) items += ceil_div(tensors[t].numel, kItem);
  return items;
}

}  // namespace

double sum_of_squares(const FlatTensor* tensors, int64_t count) {
  Array<double> partial(item_count(tensors, count));
  const auto numel_of = [&](int64_t t) { return tensors[t].numel; };
  for_each_piece_of_list(count, numel_of, [&](int64_t item, int64_t t, int64_t begin, int64_t end) {
    alignas(64) float buffer[kRun];
    alignas(64) double squares[kRun];
    double total = 0;
    for (int64_t at = begin; at < end; at += kRun) {
      const int64_t size = min_of(kRun, end - at);
      const float* values = load_run<float>(flat_loop(tensors[t].numel), flat_operand(tensors[t]),
                                            at, at + size, buffer);
      // In float64 the square of any float32 neither overflows nor vanishes.
      for (int64_t i = 0; i < size; ++i)
        squares[i] = static_cast<double>(values[i]) * static_cast<double>(values[i]);
      total += join_run<Add<double, double>>(squares, size);
    }
    partial[item] = total;
  });
  double total = 0;
  for (const double part : partial) total += part;
  return total;
}

bool scale(const FlatTensor* tensors, int64_t count, float factor, bool) {
  std::atomic<bool> finite{true};
  const auto numel_of = [&](int64_t t) { return tensors[t].numel; };
  for_each_piece_of_list(count, numel_of, [&](int64_t, int64_t t, int64_t begin, int64_t end) {
    alignas(64) float buffer[kRun], result[kRun];
    const Loop loop = flat_loop(tensors[t].numel);
    const Operand operand = flat_operand(tensors[t]);
    for (int64_t at = begin; at < end; at += kRun) {
      const int64_t size = min_of(kRun, end - at);
      const float* values = load_run<float>(loop, operand, at, at + size, buffer);
      int32_t others = 0;  // an infinity or a NaN has every bit of the exponent set
      for (int64_t i = 0; i < size; ++i) others += (as_bits(values[i]) & 0x7f800000) == 0x7f800000;
      if (others > 0) finite.store(false, std::memory_order_relaxed);
      if (factor == 1.0f) continue;
      for (int64_t i = 0; i < size; ++i) result[i] = values[i] * factor;
      store_run<float>(loop, operand, at, at + size, result);
    }
  });
  return finite.load();
}

void clip(const FlatTensor* tensors, int64_t count, double max_norm, const float* values,
          int64_t value_count, float* outcome) {
  const auto norm = static_cast<float>(__builtin_sqrt(sum_of_squares(tensors, count)));
  bool is_finite = __builtin_isfinite(norm);
  for (int64_t i = 0; i < value_count; ++i) is_finite = is_finite && __builtin_isfinite(values[i]);
  outcome[0] = norm;
  outcome[1] = is_finite ? 1.0f : 0.0f;
  const double factor = max_norm / (static_cast<double>(norm) + 1e-6);
  // A NaN is no number below 1, but it must spread.
  if (!(factor >= 1)) scale(tensors, count, static_cast<float>(factor), false);
}

void adamw(const AdamWTensor* tensors, int64_t count, double beta1, double beta2, float eps,
           const float* outcome) {
  if (outcome != nullptr && outcome[1] == 0.0f) return;
  const auto weight1 = static_cast<float>(1 - beta1), weight2 = static_cast<float>(1 - beta2),
             keep2 = static_cast<float>(beta2);
  const auto numel_of = [&](int64_t t) { return tensors[t].parameter.numel; };
  for_each_piece_of_list(count, numel_of, [&](int64_t, int64_t t, int64_t begin, int64_t end) {
    alignas(64) float buffer_p[kRun], buffer_g[kRun], result[kRun];
    const AdamWTensor& tensor = tensors[t];
    const Loop loop = flat_loop(tensor.parameter.numel);
    const float decay = tensor.decay, step_size = tensor.step_size, correction = tensor.correction;
    for (int64_t at = begin; at < end; at += kRun) {
      const int64_t size = min_of(kRun, end - at);
      const float* p =
          load_run<float>(loop, flat_operand(tensor.parameter), at, at + size, buffer_p);
      const float* g =
          load_run<float>(loop, flat_operand(tensor.gradient), at, at + size, buffer_g);
      float* m = tensor.exp_avg + at;
      float* v = tensor.exp_avg_sq + at;
      // In torch's order of operations.
      if (weight1 < 0.5f) {
        for (int64_t i = 0; i < size; ++i) m[i] = m[i] + weight1 * (g[i] - m[i]);
      } else {
        for (int64_t i = 0; i < size; ++i) m[i] = g[i] - (g[i] - m[i]) * (1.0f - weight1);
      }
      for (int64_t i = 0; i < size; ++i) v[i] = v[i] * keep2 + weight2 * g[i] * g[i];
      for (int64_t i = 0; i < size; ++i) {
        result[i] = p[i] * decay - step_size * (m[i] / (__builtin_sqrtf(v[i]) / correction + eps));
      }
      store_run<float>(loop, flat_operand(tensor.parameter), at, at + size, result);
    }
  });
}

}  // namespace fms_accel::FMS_ACCEL_ISA
