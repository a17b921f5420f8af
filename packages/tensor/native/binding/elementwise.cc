#include "ops/elementwise.h"

#include "binding/arguments.h"
#include "ops/copy.h"

namespace fms_accel {

void register_elementwise(Napi::Env env, Napi::Object exports) {
  define_tensor(env, exports, "unary", [](const Arguments& a) {
    return ops::unary(static_cast<UnaryOp>(a.integer(0)), a.number(1), a.number(2), a.tensor(3));
  });
  define_tensor(env, exports, "binary", [](const Arguments& a) {
    return ops::binary(static_cast<BinaryOp>(a.integer(0)), a.tensor(1), a.tensor(2));
  });
  define_tensor(env, exports, "where", [](const Arguments& a) {
    return ops::where(a.tensor(0), a.tensor(1), a.tensor(2));
  });
  define_tensor(env, exports, "cast",
                [](const Arguments& a) { return ops::cast(a.tensor(0), a.dtype(1)); });
  define_tensor(env, exports, "cat",
                [](const Arguments& a) { return ops::cat(a.tensors(0), a.integer(1)); });
  define(env, exports, "addInto", [](const Arguments& a) {
    ops::add_into(a.tensor(0), a.tensor(1));
    return a.napi().Undefined();
  });
  define(env, exports, "copyInto", [](const Arguments& a) {
    ops::copy_into(a.tensor(0), a.tensor(1));
    return a.napi().Undefined();
  });
  define(env, exports, "fill", [](const Arguments& a) {
    ops::fill(a.tensor(0), a.number(1));
    return a.napi().Undefined();
  });
}

}  // namespace fms_accel
