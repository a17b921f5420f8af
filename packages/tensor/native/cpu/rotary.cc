#include "cpu/rotary.h"

#include "cpu/kernel_sources.h"
#include "cpu/runs.h"
#include "engine/thread_pool.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

// Both halves of `count` values of a head.
struct Halves {
  alignas(64) float low[kRun], high[kRun];
  template <class Element>
  void load(Element element, const typename Element::Storage* from, int64_t half, int64_t count) {
    load_elements(element, from, low, count);
    load_elements(element, from + half, high, count);
  }
  template <class Element>
  void round(Element element, int64_t count) {
    round_run(element, low, count);
    round_run(element, high, count);
  }
};

// out = x * cos + turned(x) * sin for values [0, count) of each half.
template <class Element>
void rotate(Element element, const typename Element::Storage* x,
            const typename Element::Storage* cos, const typename Element::Storage* sin,
            typename Element::Storage* out, int64_t half, int64_t count) {
  Halves values, turned, phases;
  values.load(element, x, half, count);
  phases.load(element, sin, half, count);
  for (int64_t i = 0; i < count; ++i) {
    turned.low[i] = -values.high[i] * phases.low[i];
    turned.high[i] = values.low[i] * phases.high[i];
  }
  turned.round(element, count);
  phases.load(element, cos, half, count);
  for (int64_t i = 0; i < count; ++i) {
    values.low[i] *= phases.low[i];
    values.high[i] *= phases.high[i];
  }
  values.round(element, count);
  for (int64_t i = 0; i < count; ++i) {
    values.low[i] += turned.low[i];
    values.high[i] += turned.high[i];
  }
  store_elements(element, values.low, out, count);
  store_elements(element, values.high, out + half, count);
}

// Nothing is rounded between the steps, so one pass does.
void rotate(Plain<float>, const float* __restrict x, const float* __restrict cos,
            const float* __restrict sin, float* __restrict out, int64_t half, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float low = x[i], high = x[half + i];
    out[i] = low * cos[i] - high * sin[i];
    out[half + i] = high * cos[half + i] + low * sin[half + i];
  }
}

}  // namespace

void rotary(const Rotary& r) {
  const int64_t tokens_per_item = ceil_div(kItem, r.heads * r.dim), half = r.dim / 2;
  with_floating_element(r.dtype, [&](auto element) {
    using Element = decltype(element);
    using Storage = typename Element::Storage;
    parallel_for(ceil_div(r.batch * r.tokens, tokens_per_item), [&](int64_t item, int) {
      const int64_t end = min_of(r.batch * r.tokens, (item + 1) * tokens_per_item);
      for (int64_t at = item * tokens_per_item; at < end; ++at) {
        const int64_t row = at / r.tokens, token = at % r.tokens;
        const int64_t phase = row * r.phase_batch_stride + token * r.phase_token_stride;
        const Storage* cos = static_cast<const Storage*>(r.cos) + phase;
        const Storage* sin = static_cast<const Storage*>(r.sin) + phase;
        for (int64_t head = 0; head < r.heads; ++head) {
          const Storage* x = static_cast<const Storage*>(r.x) + row * r.x_batch_stride +
                             token * r.x_token_stride + head * r.x_head_stride;
          Storage* out = static_cast<Storage*>(r.out) + (at * r.heads + head) * r.dim;
          for (int64_t d = 0; d < half; d += kRun) {
            rotate(element, x + d, cos + d, sin + d, out + d, half, min_of(kRun, half - d));
          }
        }
      }
    });
  });
}

}  // namespace fms_accel::FMS_ACCEL_ISA
