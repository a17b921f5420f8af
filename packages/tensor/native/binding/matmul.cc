#include "ops/matmul.h"

#include "binding/arguments.h"
#include "ops/grouped_linear.h"

namespace fms_accel {
namespace {

// (…, dtype, compute in bfloat16) from argument `first` on.
ops::MatmulOptions dtypes_of(const Arguments& a, size_t first) {
  ops::MatmulOptions options;
  options.dtype = a.dtype(first);
  options.compute = a.boolean(first + 1) ? Compute::kBFloat16 : Compute::kFloat32;
  return options;
}

// (…, dtype, compute in bfloat16, alpha, bias, prepacked b, the tail's a and b) from argument
// `first` on.
ops::MatmulOptions options_of(const Arguments& a, size_t first) {
  ops::MatmulOptions options = dtypes_of(a, first);
  options.alpha = static_cast<float>(a.number(first + 2));
  options.bias = a.optional_tensor(first + 3);
  options.prepacked_b = a.optional_tensor(first + 4);
  options.tail_a = a.optional_tensor(first + 5);
  options.tail_b = a.optional_tensor(first + 6);
  return options;
}

// Counts, or where they lie as offsets on a device.
ops::GroupSizes sizes_of(const Arguments& a, size_t counts, size_t offsets) {
  const Tensor* const known = a.optional_tensor(offsets);
  return {known == nullptr ? a.shape(counts) : Shape{}, known};
}

}  // namespace

void register_matmul(Napi::Env env, Napi::Object exports) {
  define_tensor(env, exports, "matmul", [](const Arguments& a) {
    return ops::matmul(a.tensor(0), a.tensor(1), options_of(a, 2));
  });
  define_tensor(env, exports, "linear", [](const Arguments& a) {
    return ops::linear(a.tensor(0), a.tensor(1), options_of(a, 3), a.boolean(2));
  });
  define_tensor(env, exports, "prepack", [](const Arguments& a) {
    return ops::prepack(a.tensor(0), a.boolean(1) ? Compute::kBFloat16 : Compute::kFloat32);
  });
  define_tensor(env, exports, "groupedLinear", [](const Arguments& a) {
    return ops::grouped_linear(a.tensor(0), a.tensors(1), sizes_of(a, 2, 3), a.boolean(4),
                               dtypes_of(a, 5));
  });
  define(env, exports, "groupedWeightGradients", [](const Arguments& a) {
    return a.handles(ops::grouped_weight_gradients(a.tensor(0), a.tensor(1), sizes_of(a, 2, 3),
                                                   a.boolean(4), a.shape(5), dtypes_of(a, 6)));
  });
  define(env, exports, "matmulInto", [](const Arguments& a) {
    ops::matmul_into(a.tensor(0), a.tensor(1), a.tensor(2), static_cast<float>(a.number(3)),
                     options_of(a, 4));
    return a.napi().Undefined();
  });
}

}  // namespace fms_accel
