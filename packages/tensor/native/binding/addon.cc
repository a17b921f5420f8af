// The addon's entry: one Environment for each JavaScript environment that loads it.
#include "binding/arguments.h"

namespace {

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new fms_accel::Environment(env));
  fms_accel::register_graph(env, exports);
  fms_accel::register_engine(env, exports);
  fms_accel::register_memory(env, exports);
  fms_accel::register_attention(env, exports);
  fms_accel::register_decoder(env, exports);
  fms_accel::register_matmul(env, exports);
  fms_accel::register_elementwise(env, exports);
  fms_accel::register_reduce(env, exports);
  fms_accel::register_losses(env, exports);
  fms_accel::register_optimizer(env, exports);
  fms_accel::register_random(env, exports);
  fms_accel::register_indexing(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(fms_accel_tensor, initialise)
