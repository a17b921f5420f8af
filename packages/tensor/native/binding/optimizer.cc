#include "ops/optimizer.h"

#include "binding/arguments.h"

namespace fms_accel {

void register_optimizer(Napi::Env env, Napi::Object exports) {
  define(env, exports, "globalNorm", [](const Arguments& a) -> Napi::Value {
    return Napi::Number::New(a.napi(), ops::global_norm(a.tensors(0)));
  });
  define(env, exports, "scaleInPlace", [](const Arguments& a) -> Napi::Value {
    return Napi::Boolean::New(a.napi(), ops::scale(a.tensors(0), a.number(1), a.boolean(2)));
  });
  define_tensor(env, exports, "clipGradients", [](const Arguments& a) {
    return ops::clip(a.tensors(0), a.number(1), a.tensor(2));
  });
  define_tensor(env, exports, "adamwNumbers", [](const Arguments& a) {
    return ops::adamw_numbers(
        {a.numbers(0), a.numbers(1), a.numbers(2), a.number(3), a.number(4), 0});
  });
  define(env, exports, "adamw", [](const Arguments& a) {
    ops::adamw(a.tensors(0), a.tensors(1), a.tensors(2), a.tensors(3),
               {a.numbers(4), a.numbers(5), a.numbers(6), a.number(7), a.number(8), a.number(9)},
               a.optional_tensor(10), a.optional_tensor(11));
    return a.napi().Undefined();
  });
}

}  // namespace fms_accel
