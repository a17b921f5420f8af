#include "ops/swiglu.h"

#include "engine/error.h"
#include "ops/iteration.h"

namespace fms_accel::ops {
namespace {

void check_alike(const Tensor& gate, const Tensor& other, const char* name) {
  check(is_floating(gate.dtype) && other.dtype == gate.dtype && other.sizes() == gate.sizes(),
        "swiglu: expected ", name, " as gate, ", name_of(gate.dtype), " ", shape_of(gate),
        ", found ", name_of(other.dtype), " ", shape_of(other));
  check_same_device("swiglu", {&gate, &other});
}

}  // namespace

Tensor swiglu(const Tensor& gate, const Tensor& up) {
  check_alike(gate, up, "up");
  const Tensor result = empty(gate.sizes(), gate.dtype, gate.device());
  const Iteration it = iterate(gate.sizes(), {&result, &gate, &up});
  if (it.loop.numel > 0)
    kernels_of(gate).swiglu(it.loop, it.operands[0], it.operands[1], it.operands[2]);
  return result;
}

SwigluGradients swiglu_gradients(const Tensor& gate, const Tensor& up, const Tensor& gradient) {
  check_alike(gate, up, "up");
  check_alike(gate, gradient, "the gradient");
  const SwigluGradients results = {empty(gate.sizes(), gate.dtype, gate.device()),
                                   empty(gate.sizes(), gate.dtype, gate.device())};
  const Iteration it = iterate(gate.sizes(), {&results.gate, &results.up, &gate, &up, &gradient});
  if (it.loop.numel > 0) {
    kernels_of(gate).swiglu_gradient(it.loop, it.operands[0], it.operands[1], it.operands[2],
                                     it.operands[3], it.operands[4]);
  }
  return results;
}

}  // namespace fms_accel::ops
