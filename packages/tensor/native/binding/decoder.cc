// What decoders compute in every layer besides products and attention.
#include "binding/arguments.h"
#include "ops/copy.h"
#include "ops/rms_norm.h"
#include "ops/rotary.h"
#include "ops/swiglu.h"

namespace fms_accel {

void register_decoder(Napi::Env env, Napi::Object exports) {
  define_tensor(env, exports, "rmsNorm", [](const Arguments& a) {
    return ops::rms_norm(a.tensor(0), a.tensor(1), a.number(2));
  });
  define(env, exports, "rmsNormGradients", [](const Arguments& a) -> Napi::Value {
    const auto [x, weight] = ops::rms_norm_gradients(a.tensor(0), a.tensor(1), a.tensor(2),
                                                     a.number(3), a.boolean(4), a.boolean(5));
    Napi::Array result = Napi::Array::New(a.napi(), 2);
    if (x.storage) result.Set(0u, a.environment().emit(x));
    if (weight.storage) result.Set(1u, a.environment().emit(weight));
    return result;
  });
  define_tensor(env, exports, "rotary", [](const Arguments& a) {
    return ops::rotary(a.tensor(0), a.tensor(1), a.tensor(2));
  });
  define_tensor(env, exports, "swiglu",
                [](const Arguments& a) { return ops::swiglu(a.tensor(0), a.tensor(1)); });
  define(env, exports, "swigluGradients", [](const Arguments& a) {
    const ops::SwigluGradients gradients =
        ops::swiglu_gradients(a.tensor(0), a.tensor(1), a.tensor(2));
    return a.handles({gradients.gate, gradients.up});
  });
  define(env, exports, "copyIntoSlice", [](const Arguments& a) {
    ops::copy_into_slice(a.tensor(0), a.integer(1), a.integer(2), a.tensor(3));
    return a.napi().Undefined();
  });
  // Several tensors at once: handles are in a Float64Array that may be longer.
  define(env, exports, "releaseMany", [](const Arguments& a) {
    check(a.value(0).IsTypedArray(), "releaseMany: expected a Float64Array of handles");
    const auto handles = a.value(0).As<Napi::Float64Array>();
    const int64_t count = a.integer(1);
    check(count >= 0 && count <= static_cast<int64_t>(handles.ElementLength()),
          "releaseMany: ", count, " handles in an array of ", handles.ElementLength());
    const double* const data = handles.Data();
    for (int64_t i = 0; i < count; ++i)
      a.environment().tensors().release(static_cast<Handle>(data[i]));
    return a.napi().Undefined();
  });
}

}  // namespace fms_accel
