#include "ops/softmax.h"

#include "engine/error.h"
#include "ops/iteration.h"

namespace fms_accel::ops {
Tensor softmax(const Tensor& x, int64_t dim, bool logarithm, DType dtype) {
  const char* name = logarithm ? "logSoftmax" : "softmax";
  check(is_floating(dtype), name, ": the result must be floating, but its dtype is ",
        name_of(dtype));
  const int at = dimension(name, dim, x.ndim);
  const Tensor result = empty(x.sizes(), dtype, x.device());
  if (result.numel() == 0) return result;
  const Tensor out_rest = without(result, at), x_rest = without(x, at);
  const Iteration it = iterate(x_rest.sizes(), {&out_rest, &x_rest});
  kernels_of(x).softmax(logarithm, it.loop, x.shape[at], {it.operands[0], result.strides[at]},
                        {it.operands[1], x.strides[at]});
  return result;
}

Tensor softmax_gradient(const Tensor& y, const Tensor& gradient, int64_t dim, bool logarithm,
                        DType dtype) {
  const char* name = logarithm ? "logSoftmax" : "softmax";
  check(y.sizes() == gradient.sizes(), name, ": gradient of shape ", shape_of(gradient), " for ",
        shape_of(y));
  check_same_device(name, {&y, &gradient});
  const int at = dimension(name, dim, y.ndim);
  const Tensor result = empty(y.sizes(), dtype, y.device());
  if (result.numel() == 0) return result;
  const Tensor out_rest = without(result, at), y_rest = without(y, at),
               g_rest = without(gradient, at);
  const Iteration it = iterate(y_rest.sizes(), {&out_rest, &y_rest, &g_rest});
  kernels_of(y).softmax_gradient(
      logarithm, it.loop, y.shape[at], {it.operands[0], result.strides[at]},
      {it.operands[1], y.strides[at]}, {it.operands[2], gradient.strides[at]});
  return result;
}

}  // namespace fms_accel::ops
