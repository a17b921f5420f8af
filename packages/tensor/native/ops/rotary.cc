#include "ops/rotary.h"

#include "cpu/rotary.h"
#include "engine/error.h"
#include "ops/iteration.h"

namespace fms_accel::ops {
namespace {

void check_phases(const char* name, const Tensor& phases, const Tensor& x) {
  const bool fits = phases.ndim == 4 && (phases.shape[0] == x.shape[0] || phases.shape[0] == 1) &&
                    phases.shape[1] == x.shape[1] && phases.shape[2] == 1 &&
                    phases.shape[3] == x.shape[3] && phases.dtype == x.dtype;
  check(fits, "rotary: expected ", name, " as ", name_of(x.dtype), " [", x.shape[0], " or 1, ",
        x.shape[1], ", 1, ", x.shape[3], "], found ", name_of(phases.dtype), " ", shape_of(phases));
}

}  // namespace

Tensor rotary(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  check(x.ndim == 4 && x.shape[3] % 2 == 0 && is_floating(x.dtype),
        "rotary: expected floating x [batch, tokens, heads, dim] with an even dim, found ",
        name_of(x.dtype), " ", shape_of(x));
  check_phases("cos", cos, x);
  check_phases("sin", sin, x);
  check_same_device("rotary", {&x, &cos, &sin});
  const Tensor result = empty(x.sizes(), x.dtype, x.device());
  if (result.numel() == 0) return result;
  const Tensor rows = x.strides[3] == 1 ? x : contiguous(x);
  const Tensor cosines = contiguous(cos), sines = contiguous(sin);
  Rotary r;
  r.batch = x.shape[0], r.tokens = x.shape[1], r.heads = x.shape[2], r.dim = x.shape[3];
  r.x = rows.raw();
  r.x_batch_stride = rows.strides[0];
  r.x_token_stride = rows.strides[1];
  r.x_head_stride = rows.strides[2];
  r.cos = cosines.raw();
  r.sin = sines.raw();
  check(cos.shape[0] == sin.shape[0], "rotary: cos ", shape_of(cos), " and sin ", shape_of(sin),
        " differ");
  r.phase_batch_stride = cos.shape[0] == 1 ? 0 : r.tokens * r.dim;
  r.phase_token_stride = r.dim;
  r.out = result.raw();
  r.dtype = x.dtype;
  const auto kernel = kernels_of(x).rotary;
  check(kernel != nullptr, "rotary: this device has no kernel for it");
  kernel(r);
  return result;
}

}  // namespace fms_accel::ops
