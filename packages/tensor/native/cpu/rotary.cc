#include "cpu/rotary.h"

#include "cpu/kernel_sources.h"
#include "cpu/runs.h"
#include "engine/thread_pool.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

template <class Element>
void round_run(float* values, int64_t count) {
  alignas(64) typename Element::Storage rounded[kRun];
  store_elements(Element(), values, rounded, count);
  load_elements(Element(), rounded, values, count);
}

// out = a * cos + sign * b * sin
template <class Element>
void rotate_run(const typename Element::Storage* a, const typename Element::Storage* b, float sign,
                const typename Element::Storage* cos, const typename Element::Storage* sin,
                typename Element::Storage* out, int64_t count) {
  alignas(64) float values[kRun], turned[kRun], phases[kRun];
  load_elements(Element(), a, values, count);
  load_elements(Element(), cos, phases, count);
  for (int64_t i = 0; i < count; ++i) values[i] *= phases[i];
  round_run<Element>(values, count);
  load_elements(Element(), b, turned, count);
  load_elements(Element(), sin, phases, count);
  for (int64_t i = 0; i < count; ++i) turned[i] = sign * turned[i] * phases[i];
  round_run<Element>(turned, count);
  for (int64_t i = 0; i < count; ++i) values[i] += turned[i];
  store_elements(Element(), values, out, count);
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
            const int64_t count = min_of(kRun, half - d), other = half + d;
            rotate_run<Element>(x + d, x + other, -1, cos + d, sin + d, out + d, count);
            rotate_run<Element>(x + other, x + d, 1, cos + other, sin + other, out + other, count);
          }
        }
      }
    });
  });
}

}  // namespace fms_accel::FMS_ACCEL_ISA
