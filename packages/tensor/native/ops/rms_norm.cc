#include "ops/rms_norm.h"

#include "cpu/rms_norm.h"
#include "engine/error.h"
#include "ops/iteration.h"

namespace fms_accel::ops {

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  check(x.ndim >= 1 && weight.ndim == 1 && weight.shape[0] == x.size(-1) && is_floating(x.dtype) &&
            weight.dtype == x.dtype,
        "rmsNorm: expected x [..., n] and weight [n] of one floating dtype, found ",
        name_of(x.dtype), " ", shape_of(x), " and ", name_of(weight.dtype), " ", shape_of(weight));
  check_same_device("rmsNorm", {&x, &weight});
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

}  // namespace fms_accel::ops
