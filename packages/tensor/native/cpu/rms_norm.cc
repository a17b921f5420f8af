#include "cpu/rms_norm.h"

#include <vector>

#include "cpu/kernel_sources.h"
#include "cpu/runs.h"
#include "engine/thread_pool.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

// The sum as `reduce` adds it up.
template <class Element>
double sum_of_squares_of_row(const typename Element::Storage* x, int64_t length) {
  double total = 0;
  for (int64_t at = 0; at < length; at += kRun) {
    alignas(64) float values[kRun];
    const int64_t count = min_of(kRun, length - at);
    load_elements(Element(), x + at, values, count);
    for (int64_t i = 0; i < count; ++i) values[i] *= values[i];
    total += join_run<Add<float, double>>(values, count);
  }
  return total;
}

// 1 / sqrt(mean(x^2) + eps)
template <class Element>
float scale_of_row(const typename Element::Storage* x, int64_t length, float eps) {
  const double mean = sum_of_squares_of_row<Element>(x, length) / static_cast<double>(length);
  return 1.0f / __builtin_sqrtf(static_cast<float>(mean) + eps);
}

template <class Element>
void normalise_row(const RmsNorm& n, int64_t row) {
  using Storage = typename Element::Storage;
  const Storage* x = static_cast<const Storage*>(n.x) + row * n.length;
  const Storage* weight = static_cast<const Storage*>(n.weight);
  Storage* out = static_cast<Storage*>(n.out) + row * n.length;
  const float scale = scale_of_row<Element>(x, n.length, n.eps);
  for (int64_t at = 0; at < n.length; at += kRun) {
    alignas(64) float values[kRun], weights[kRun];
    const int64_t count = min_of(kRun, n.length - at);
    load_elements(Element(), x + at, values, count);
    load_elements(Element(), weight + at, weights, count);
    for (int64_t i = 0; i < count; ++i) values[i] *= scale;
    round_run(Element(), values, count);
    for (int64_t i = 0; i < count; ++i) values[i] = weights[i] * values[i];
    store_elements(Element(), values, out + at, count);
  }
}

// With s the row's scale and u = round(weight * gradient): s * u - x * s^3 * mean(u * x).
template <class Element>
void x_gradient_of_row(const RmsNormGradient& n, int64_t row, float scale) {
  using Storage = typename Element::Storage;
  const Storage* x = static_cast<const Storage*>(n.x) + row * n.length;
  const Storage* weight = static_cast<const Storage*>(n.weight);
  const Storage* gradient = static_cast<const Storage*>(n.gradient) + row * n.length;
  Storage* out = static_cast<Storage*>(n.x_gradient) + row * n.length;
  alignas(64) float values[kRun], weighted[kRun];
  const auto load = [&](int64_t at, int64_t count) {
    load_elements(Element(), gradient + at, weighted, count);
    load_elements(Element(), weight + at, values, count);
    for (int64_t i = 0; i < count; ++i) weighted[i] *= values[i];
    round_run(Element(), weighted, count);
    load_elements(Element(), x + at, values, count);
  };
  double dot = 0;
  for (int64_t at = 0; at < n.length; at += kRun) {
    const int64_t count = min_of(kRun, n.length - at);
    load(at, count);
    for (int64_t i = 0; i < count; ++i) weighted[i] *= values[i];
    dot += join_run<Add<float, double>>(weighted, count);
  }
  const float slope =
      static_cast<float>(dot / static_cast<double>(n.length)) * (scale * scale * scale);
  for (int64_t at = 0; at < n.length; at += kRun) {
    const int64_t count = min_of(kRun, n.length - at);
    load(at, count);
    for (int64_t i = 0; i < count; ++i) values[i] = weighted[i] * scale - values[i] * slope;
    store_elements(Element(), values, out + at, count);
  }
}

// sums [length] += gradient * round(x * scale)
template <class Element>
void add_weight_gradient_of_row(const RmsNormGradient& n, int64_t row, float scale, float* sums) {
  using Storage = typename Element::Storage;
  const Storage* x = static_cast<const Storage*>(n.x) + row * n.length;
  const Storage* gradient = static_cast<const Storage*>(n.gradient) + row * n.length;
  for (int64_t at = 0; at < n.length; at += kRun) {
    alignas(64) float values[kRun], gradients[kRun];
    const int64_t count = min_of(kRun, n.length - at);
    load_elements(Element(), x + at, values, count);
    load_elements(Element(), gradient + at, gradients, count);
    for (int64_t i = 0; i < count; ++i) values[i] *= scale;
    round_run(Element(), values, count);
    for (int64_t i = 0; i < count; ++i) sums[at + i] += gradients[i] * values[i];
  }
}

// Rows that one item goes over. Fixed, because their sums are joined in its order.
constexpr int64_t kRowsOfItem = 64;

}  // namespace

void rms_norm(const RmsNorm& n) {
  const int64_t rows_per_item = ceil_div(kItem, n.length);
  with_floating_element(n.dtype, [&](auto element) {
    parallel_for(ceil_div(n.rows, rows_per_item), [&](int64_t item, int) {
      const int64_t end = min_of(n.rows, (item + 1) * rows_per_item);
      for (int64_t row = item * rows_per_item; row < end; ++row)
        normalise_row<decltype(element)>(n, row);
    });
  });
}

void rms_norm_gradient(const RmsNormGradient& n) {
  const int64_t items = ceil_div(n.rows, kRowsOfItem);
  std::vector<float> sums(n.weight_gradient == nullptr ? 0 : static_cast<size_t>(items * n.length));
  with_floating_element(n.dtype, [&](auto element) {
    using Element = decltype(element);
    using Storage = typename Element::Storage;
    parallel_for(items, [&](int64_t item, int) {
      const int64_t end = min_of(n.rows, (item + 1) * kRowsOfItem);
      for (int64_t row = item * kRowsOfItem; row < end; ++row) {
        const float scale = scale_of_row<Element>(static_cast<const Storage*>(n.x) + row * n.length,
                                                  n.length, n.eps);
        if (n.x_gradient != nullptr) x_gradient_of_row<Element>(n, row, scale);
        if (n.weight_gradient != nullptr)
          add_weight_gradient_of_row<Element>(n, row, scale, sums.data() + item * n.length);
      }
    });
    if (n.weight_gradient == nullptr) return;
    parallel_for(ceil_div(n.length, kRun), [&](int64_t run, int) {
      alignas(64) double totals[kRun] = {};
      const int64_t first = run * kRun, count = min_of(kRun, n.length - first);
      for (int64_t item = 0; item < items; ++item) {
        const float* part = sums.data() + item * n.length + first;
        for (int64_t i = 0; i < count; ++i) totals[i] += part[i];
      }
      alignas(64) float values[kRun];
      for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(totals[i]);
      store_elements(Element(), values, static_cast<Storage*>(n.weight_gradient) + first, count);
    });
  });
}

}  // namespace fms_accel::FMS_ACCEL_ISA
