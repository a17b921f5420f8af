#include "cpu/rms_norm.h"

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

template <class Element>
void normalise_row(const RmsNorm& n, int64_t row) {
  using Storage = typename Element::Storage;
  const Storage* x = static_cast<const Storage*>(n.x) + row * n.length;
  const Storage* weight = static_cast<const Storage*>(n.weight);
  Storage* out = static_cast<Storage*>(n.out) + row * n.length;
  const double mean = sum_of_squares_of_row<Element>(x, n.length) / static_cast<double>(n.length);
  const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(mean) + n.eps);
  for (int64_t at = 0; at < n.length; at += kRun) {
    alignas(64) float values[kRun], weights[kRun];
    alignas(64) Storage rounded[kRun];
    const int64_t count = min_of(kRun, n.length - at);
    load_elements(Element(), x + at, values, count);
    load_elements(Element(), weight + at, weights, count);
    for (int64_t i = 0; i < count; ++i) values[i] *= scale;
    store_elements(Element(), values, rounded, count);
    load_elements(Element(), rounded, values, count);
    for (int64_t i = 0; i < count; ++i) values[i] = weights[i] * values[i];
    store_elements(Element(), values, out + at, count);
  }
}

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

}  // namespace fms_accel::FMS_ACCEL_ISA
