#include "ops/random.h"

#include <cmath>

#include "engine/error.h"
#include "ops/iteration.h"

namespace fms_accel::ops {
namespace {

void check_target(const char* op, const Tensor& target) {
  check(is_floating(target.dtype), op, ": expected a floating tensor, found ",
        name_of(target.dtype));
  check_writable(op, target);
}

}  // namespace

void uniform_into(const Tensor& target, double low, double high, Randomness random) {
  check_target("uniform", target);
  check(std::isfinite(low) && std::isfinite(high) && low <= high, "uniform: bounds ", low, " and ",
        high);
  const Iteration it = iterate(target.sizes(), {&target});
  if (it.loop.numel == 0) return;
  kernels_of(target).uniform(it.loop, it.operands[0], static_cast<float>(low),
                             static_cast<float>(high), random);
}

void normal_into(const Tensor& target, double mean, double deviation, Randomness random) {
  check_target("normal", target);
  check(std::isfinite(mean) && std::isfinite(deviation) && deviation >= 0, "normal: mean ", mean,
        " and standard deviation ", deviation);
  const Iteration it = iterate(target.sizes(), {&target});
  if (it.loop.numel == 0) return;
  kernels_of(target).normal(it.loop, it.operands[0], static_cast<float>(mean),
                            static_cast<float>(deviation), random);
}

Tensor dropout(const Tensor& x, double p, Randomness random) {
  check(is_floating(x.dtype), "dropout: expected a floating tensor, found ", name_of(x.dtype));
  check(p >= 0 && p <= 1, "dropout: the probability must lie in 0 to 1, found ", p);
  const Tensor result = empty(x.sizes(), x.dtype, x.device());
  const Iteration it = iterate(x.sizes(), {&result, &x});
  if (it.loop.numel == 0) return result;
  // A word below the threshold drops its element; p = 1 keeps the one word in 2^32 that reaches it,
  // scaled by 0.
  const auto threshold = static_cast<uint32_t>(std::fmin(std::round(p * 0x1p32), 0x1p32 - 1));
  const float scale = p < 1 ? static_cast<float>(1 / (1 - p)) : 0.0f;
  kernels_of(x).dropout(it.loop, it.operands[0], it.operands[1], threshold, scale, random);
  return result;
}

}  // namespace fms_accel::ops
