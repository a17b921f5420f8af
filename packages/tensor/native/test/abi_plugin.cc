// A plugin addon as a third party would write it: it includes only the public header and links
// nothing of the engine. test/abi.test.ts drives it.
#include <napi.h>

#include <cstring>
#include <string>

#include "fms_accel/tensor_abi.h"

namespace {

const fms_accel_engine_v1* engine = nullptr;

[[noreturn]] void raise(Napi::Env env, const std::string& message) {
  throw Napi::Error::New(env, message);
}

Napi::Value attach(const Napi::CallbackInfo& info) {
  constexpr napi_type_tag kTag{FMS_ACCEL_ENGINE_TAG_LOW, FMS_ACCEL_ENGINE_TAG_HIGH};
  bool matches = false;
  if (napi_check_object_type_tag(info.Env(), info[0], &kTag, &matches) != napi_ok || !matches) {
    raise(info.Env(), "not the External of @fms-accel/tensor");
  }
  const auto* table = info[0].As<Napi::External<fms_accel_engine_v1>>().Data();
  if (table->abi_major != FMS_ACCEL_ABI_MAJOR || table->struct_size < sizeof(fms_accel_engine_v1)) {
    raise(info.Env(), "the engine's ABI does not fit this plugin");
  }
  engine = table;
  return info.Env().Undefined();
}

// y = x + x for a contiguous float32 tensor, as a new tensor; returns its handle.
Napi::Value twice(const Napi::CallbackInfo& info) {
  const auto handle = static_cast<fms_accel_handle>(info[0].As<Napi::Number>().Int64Value());
  fms_accel_tensor_view x, y;
  if (engine->resolve(engine->context, handle, &x) != 0)
    raise(info.Env(), engine->last_error(engine->context));
  if (x.dtype.code != 2 || x.dtype.bits != 32) raise(info.Env(), "twice: expected float32");
  fms_accel_handle result;
  if (engine->allocate(engine->context, x.dtype, x.shape, x.ndim, x.device, &result) != 0 ||
      engine->resolve(engine->context, result, &y) != 0) {
    raise(info.Env(), engine->last_error(engine->context));
  }
  int64_t count = 1;
  for (int d = 0; d < x.ndim; ++d) count *= x.shape[d];
  struct Work {
    const float* from;
    float* to;
    int64_t count;
  } work{static_cast<const float*>(x.data), static_cast<float*>(y.data), count};
  engine->parallel_for(
      engine->context, (count + 999) / 1000,
      [](void* argument, int64_t item, int32_t) {
        const auto* w = static_cast<const Work*>(argument);
        for (int64_t i = item * 1000; i < w->count && i < (item + 1) * 1000; ++i)
          w->to[i] = w->from[i] + w->from[i];
      },
      &work);
  return Napi::Number::New(info.Env(), static_cast<double>(result));
}

Napi::Value allocate_negative(const Napi::CallbackInfo& info) {
  const int64_t shape[] = {-1};
  fms_accel_handle handle;
  if (engine->allocate(engine->context, {2, 32, 1}, shape, 1, {1, 0}, &handle) == 0)
    raise(info.Env(), "was accepted");
  return Napi::String::New(info.Env(), engine->last_error(engine->context));
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  exports.Set("attach", Napi::Function::New(env, attach));
  exports.Set("twice", Napi::Function::New(env, twice));
  exports.Set("allocateNegative", Napi::Function::New(env, allocate_negative));
  return exports;
}

}  // namespace

NODE_API_MODULE(abi_plugin, initialise)
