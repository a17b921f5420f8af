#include "ops/rms_norm.h"

#include "cpu/rms_norm.h"
#include "engine/error.h"
#include "ops/copy.h"
#include "ops/iteration.h"

namespace fms_accel::ops {
namespace {

void check_operands(const Tensor& x, const Tensor& weight) {
  check(x.ndim >= 1 && weight.ndim == 1 && weight.shape[0] == x.size(-1) && is_floating(x.dtype) &&
            weight.dtype == x.dtype,
        "rmsNorm: expected x [..., n] and weight [n] of one floating dtype, found ",
        name_of(x.dtype), " ", shape_of(x), " and ", name_of(weight.dtype), " ", shape_of(weight));
  check_same_device("rmsNorm", {&x, &weight});
}

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  check_operands(x, weight);
  const Tensor result = empty(x.sizes(), x.dtype, x.device());
  if (result.numel() == 0) return result;
  const Tensor rows = contiguous(x), factors = contiguous(weight);
  RmsNorm n;
  n.length = x.size(-1);
  n.rows = x.numel() / n.length;
  n.x = rows.raw();
  n.weight = factors.raw();
  n.out = result.raw();
  n.dtype = x.dtype;
  n.eps = static_cast<float>(eps);
  const auto kernel = kernels_of(x).rms_norm;
  check(kernel != nullptr, "rmsNorm: this device has no kernel for it");
  kernel(n);
  return result;
}

std::pair<Tensor, Tensor> rms_norm_gradients(const Tensor& x, const Tensor& weight,
                                             const Tensor& gradient, double eps, bool of_x,
                                             bool of_weight) {
  check_operands(x, weight);
  check(gradient.sizes() == x.sizes() && gradient.dtype == x.dtype, "rmsNorm: expected a gradient ",
        name_of(x.dtype), " ", shape_of(x), ", found ", name_of(gradient.dtype), " ",
        shape_of(gradient));
  check_same_device("rmsNorm", {&x, &gradient});
  std::pair<Tensor, Tensor> result;
  if (of_x) result.first = empty(x.sizes(), x.dtype, x.device());
  if (of_weight) result.second = empty(weight.sizes(), x.dtype, x.device());
  if (x.numel() == 0) {
    if (of_weight) fill(result.second, 0);
    return result;
  }
  const Tensor rows = contiguous(x), factors = contiguous(weight), gradients = contiguous(gradient);
  RmsNormGradient n;
  n.length = x.size(-1);
  n.rows = x.numel() / n.length;
  n.x = rows.raw();
  n.weight = factors.raw();
  n.gradient = gradients.raw();
  if (of_x) n.x_gradient = result.first.raw();
  if (of_weight) n.weight_gradient = result.second.raw();
  n.dtype = x.dtype;
  n.eps = static_cast<float>(eps);
  const auto kernel = kernels_of(x).rms_norm_gradient;
  check(kernel != nullptr, "rmsNorm: this device has no kernel for its gradients");
  kernel(n);
  return result;
}

}  // namespace fms_accel::ops
