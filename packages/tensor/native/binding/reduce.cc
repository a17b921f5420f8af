#include "ops/reduce.h"

#include "binding/arguments.h"

namespace fms_accel {

void register_reduce(Napi::Env env, Napi::Object exports) {
  define_tensor(env, exports, "reduce", [](const Arguments& a) {
    return ops::reduce(static_cast<ReduceOp>(a.integer(0)), a.tensor(1), a.shape(2), a.boolean(3));
  });
  define_tensor(env, exports, "argmax", [](const Arguments& a) {
    return ops::argmax(a.tensor(0), a.integer(1), a.boolean(2));
  });
  define_tensor(env, exports, "logsumexp", [](const Arguments& a) {
    return ops::logsumexp(a.tensor(0), a.shape(1), a.boolean(2));
  });
  define_tensor(env, exports, "cumsum", [](const Arguments& a) {
    return ops::cumsum(a.tensor(0), a.integer(1), a.boolean(2));
  });
}

}  // namespace fms_accel
