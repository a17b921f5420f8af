// Gated activations, in one pass over gate and up where the composed form takes one for each of its
// operations; see src/ops/swiglu.ts.
#include "cpu/kernel_sources.h"
#include "cpu/runs.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

// body(element, begin, end) for every run.
template <class Body>
void for_each_typed_run(const Loop& loop, DType dtype, const Body& body) {
  with_floating_element(dtype, [&](auto element) {
    for_each_run(loop.numel, [&](int64_t begin, int64_t end) { body(element, begin, end); });
  });
}

}  // namespace

void swiglu(const Loop& loop, const Operand& out, const Operand& gate, const Operand& up) {
  for_each_typed_run(loop, out.dtype, [&](auto element, int64_t begin, int64_t end) {
    alignas(64) float buffer_x[kRun], buffer_u[kRun], values[kRun];
    const int64_t count = end - begin;
    const float* x = load_run<float>(loop, gate, begin, end, buffer_x);
    const float* u = load_run<float>(loop, up, begin, end, buffer_u);
    for (int64_t i = 0; i < count; ++i) values[i] = x[i] * sigmoid_of(x[i]);
    round_run(element, values, count);
    for (int64_t i = 0; i < count; ++i) values[i] *= u[i];
    store_run<float>(loop, out, begin, end, values);
  });
}

void swiglu_gradient(const Loop& loop, const Operand& gate_gradient, const Operand& up_gradient,
                     const Operand& gate, const Operand& up, const Operand& gradient) {
  for_each_typed_run(loop, gate.dtype, [&](auto element, int64_t begin, int64_t end) {
    alignas(64) float buffer_x[kRun], buffer_u[kRun], buffer_g[kRun];
    alignas(64) float sigmoids[kRun], for_gate[kRun], for_up[kRun];
    const int64_t count = end - begin;
    const float* x = load_run<float>(loop, gate, begin, end, buffer_x);
    const float* u = load_run<float>(loop, up, begin, end, buffer_u);
    const float* g = load_run<float>(loop, gradient, begin, end, buffer_g);
    for (int64_t i = 0; i < count; ++i) {
      sigmoids[i] = sigmoid_of(x[i]);
      for_up[i] = x[i] * sigmoids[i];
      for_gate[i] = g[i] * u[i];
    }
    round_run(element, for_up, count);
    round_run(element, for_gate, count);
    for (int64_t i = 0; i < count; ++i) {
      const float s = sigmoids[i];
      for_up[i] *= g[i];
      for_gate[i] = for_gate[i] * s * (1.0f + x[i] * (1.0f - s));
    }
    store_run<float>(loop, gate_gradient, begin, end, for_gate);
    store_run<float>(loop, up_gradient, begin, end, for_up);
  });
}

}  // namespace fms_accel::FMS_ACCEL_ISA
