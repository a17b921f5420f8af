#include "ops/random.h"

#include "binding/arguments.h"

namespace fms_accel {
namespace {

Randomness randomness(const Arguments& a, size_t seed) {
  return {a.word64(seed), a.word64(seed + 1)};
}

}  // namespace

void register_random(Napi::Env env, Napi::Object exports) {
  define(env, exports, "uniformInto", [](const Arguments& a) {
    ops::uniform_into(a.tensor(0), a.number(1), a.number(2), randomness(a, 3));
    return a.napi().Undefined();
  });
  define(env, exports, "normalInto", [](const Arguments& a) {
    ops::normal_into(a.tensor(0), a.number(1), a.number(2), randomness(a, 3));
    return a.napi().Undefined();
  });
  define_tensor(env, exports, "dropout", [](const Arguments& a) {
    return ops::dropout(a.tensor(0), a.number(1), randomness(a, 2));
  });
}

}  // namespace fms_accel
