#include <napi.h>

#include "fms_accel/tensor_abi.h"

namespace {

const fms_accel_engine_v1* engine = nullptr;

// attach(engineExternal)
Napi::Value attach(const Napi::CallbackInfo& info) {
  constexpr napi_type_tag kTag{FMS_ACCEL_ENGINE_TAG_LOW, FMS_ACCEL_ENGINE_TAG_HIGH};
  bool matches = false;
  if (napi_check_object_type_tag(info.Env(), info[0], &kTag, &matches) != napi_ok || !matches)
    throw Napi::Error::New(info.Env(), "attach: not the External of @fms-accel/tensor");
  const auto* table = info[0].As<Napi::External<const fms_accel_engine_v1>>().Data();
  if (table->abi_major != FMS_ACCEL_ABI_MAJOR || table->struct_size < sizeof(fms_accel_engine_v1))
    throw Napi::Error::New(info.Env(), "attach: the engine's ABI does not fit this addon");
  engine = table;
  return info.Env().Undefined();
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  exports.Set("attach", Napi::Function::New(env, attach));
  return exports;
}

}  // namespace

NODE_API_MODULE(fms_accel_attention_and_distributed_packing, initialise)
