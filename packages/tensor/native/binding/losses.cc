// Softmax and cross entropy.
#include "binding/arguments.h"
#include "ops/cross_entropy.h"
#include "ops/softmax.h"

namespace fms_accel {

void register_losses(Napi::Env env, Napi::Object exports) {
  define_tensor(env, exports, "softmax", [](const Arguments& a) {
    return ops::softmax(a.tensor(0), a.integer(1), a.boolean(2), a.dtype(3));
  });
  define_tensor(env, exports, "softmaxGradient", [](const Arguments& a) {
    return ops::softmax_gradient(a.tensor(0), a.tensor(1), a.integer(2), a.boolean(3), a.dtype(4));
  });
  define(env, exports, "crossEntropy", [](const Arguments& a) -> Napi::Value {
    const ops::CrossEntropyResult computed =
        ops::cross_entropy(a.tensor(0), a.tensor(1), a.integer(2), a.boolean(3));
    auto result = Napi::Object::New(a.napi());
    result.Set("losses", a.environment().emit(computed.losses));
    result.Set("logsumexp", a.environment().emit(computed.logsumexp));
    result.Set("counted", static_cast<double>(computed.counted));
    return result;
  });
  define_tensor(env, exports, "crossEntropyGradient", [](const Arguments& a) {
    return ops::cross_entropy_gradient(a.tensor(0), a.tensor(1), a.tensor(2), a.integer(3),
                                       a.tensor(4), a.number(5));
  });
  define_tensor(env, exports, "crossEntropyInPlace", [](const Arguments& a) {
    return ops::cross_entropy_in_place(a.tensor(0), a.tensor(1), a.integer(2));
  });
}

}  // namespace fms_accel
