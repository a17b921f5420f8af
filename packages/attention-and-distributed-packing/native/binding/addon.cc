// What JavaScript calls. Tensors come as handles of the engine; results are handles that
// `adoptTensor` takes over. Every mistake becomes a TensorError.
#include <napi.h>

#include <memory>

#include "cpu/isa.h"
#include "ops/device_attention.h"
#include "ops/variable_length_attention.h"

namespace {

using namespace fms_accel;

// What one JavaScript environment (the main thread or a worker) has attached.
struct Addon {
  std::unique_ptr<Engine> engine;
  const AttentionKernels* kernels = nullptr;
  Napi::FunctionReference error_class;
};

Napi::Error javascript_error(const Napi::CallbackInfo& info, const std::string& message) {
  const Addon& addon = *info.Env().GetInstanceData<Addon>();
  const Napi::Value text = Napi::String::New(info.Env(), message);
  if (addon.error_class.IsEmpty()) return Napi::Error::New(info.Env(), message);
  return Napi::Error(info.Env(), addon.error_class.New({text}));
}

// Runs body(info, addon); an Error thrown inside becomes a JavaScript error.
template <Napi::Value (*body)(const Napi::CallbackInfo&, Addon&)>
Napi::Value guarded(const Napi::CallbackInfo& info) {
  try {
    return body(info, *info.Env().GetInstanceData<Addon>());
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw javascript_error(info, error.what());
  }
}

double number(const Napi::CallbackInfo& info, size_t i, const char* what) {
  check(info[i].IsNumber(), "variableLengthAttention: expected ", what, " as a number");
  return info[i].As<Napi::Number>().DoubleValue();
}
bool boolean(const Napi::CallbackInfo& info, size_t i, const char* what) {
  check(info[i].IsBoolean(), "variableLengthAttention: expected ", what, " as true or false");
  return info[i].As<Napi::Boolean>();
}
TensorView tensor(const Napi::CallbackInfo& info, const Addon& addon, size_t i, const char* what) {
  const double handle = number(info, i, what);
  check(handle >= 0 && handle < 9007199254740992.0, "variableLengthAttention: expected ", what,
        " as a tensor's handle");
  return addon.engine->resolve(static_cast<fms_accel_handle>(handle));
}
fms_accel_dtype dtype(const Napi::CallbackInfo& info, size_t i) {
  const std::string name = info[i].IsString() ? info[i].As<Napi::String>().Utf8Value() : "";
  for (const fms_accel_dtype type : {kFloat32Type, kBFloat16Type, kFloat16Type})
    if (name_of(type) == name) return type;
  fail("variableLengthAttention: expected the result's dtype as float32, bfloat16 or float16");
}

// attach(engineExternal, isa, errorClass)
Napi::Value attach(const Napi::CallbackInfo& info, Addon& addon) {
  constexpr napi_type_tag kTag{FMS_ACCEL_ENGINE_TAG_LOW, FMS_ACCEL_ENGINE_TAG_HIGH};
  bool matches = false;
  check(info[0].IsExternal() &&
            napi_check_object_type_tag(info.Env(), info[0], &kTag, &matches) == napi_ok && matches,
        "attach: not the External of @fms-accel/tensor");
  check(info[1].IsString() && info[2].IsFunction(),
        "attach: expected the engine, the name of an instruction set and a class of errors");
  addon.kernels = &attention_kernels(info[1].As<Napi::String>().Utf8Value());
  addon.engine =
      std::make_unique<Engine>(info[0].As<Napi::External<const fms_accel_engine_v1>>().Data());
  addon.error_class = Napi::Persistent(info[2].As<Napi::Function>());
  return info.Env().Undefined();
}

ops::AttentionOperands operands_of(const Napi::CallbackInfo& info, const Addon& addon) {
  check(addon.engine != nullptr, "variableLengthAttention: no engine is attached");
  return {tensor(info, addon, 0, "q"), tensor(info, addon, 1, "k"), tensor(info, addon, 2, "v"),
          tensor(info, addon, 3, "cuSeqlens")};
}

// (scale, soft cap, causal, window, products in bfloat16, dtype) from `first` on.
ops::AttentionOptions options_of(const Napi::CallbackInfo& info, size_t first) {
  ops::AttentionOptions options;
  options.scale = static_cast<float>(number(info, first, "scale"));
  options.soft_cap = static_cast<float>(number(info, first + 1, "softCap"));
  options.is_causal = boolean(info, first + 2, "isCausal");
  const double window = number(info, first + 3, "window");
  check(window >= 0 && window <= 9007199254740992.0 &&
            window == static_cast<double>(static_cast<int64_t>(window)),
        "variableLengthAttention: expected the window as a whole number, found ", window);
  options.window = static_cast<int64_t>(window);
  options.in_bfloat16 = boolean(info, first + 4, "inBFloat16");
  options.dtype = dtype(info, first + 5);
  return options;
}

template <class Body>
auto named(const ops::AttentionOperands& operands, const Body& body) {
  try {
    return body();
  } catch (const DeviceError& error) {
    ops::fail_on_device(operands, error);
  }
}

Napi::Value handles(Napi::Env env, std::initializer_list<NewTensor*> tensors) {
  auto result = Napi::Array::New(env, tensors.size());
  uint32_t i = 0;
  for (NewTensor* tensor : tensors)
    result[i++] = Napi::Number::New(env, static_cast<double>(tensor->hand_over()));
  return result;
}

// variableLengthAttention(q, k, v, cuSeqlens, options…) → [out, lse]
Napi::Value forward(const Napi::CallbackInfo& info, Addon& addon) {
  const ops::AttentionOperands operands = operands_of(info, addon);
  const ops::AttentionOptions options = options_of(info, 4);
  ops::AttentionResult result = named(operands, [&] {
    return ops::variable_length_attention(*addon.engine, *addon.kernels, operands, options);
  });
  return handles(info.Env(), {&result.out, &result.lse});
}

// variableLengthAttentionGradients(q, k, v, cuSeqlens, out, lse, outGradient, options…) → [dq, dk,
// dv]
Napi::Value gradients(const Napi::CallbackInfo& info, Addon& addon) {
  const ops::AttentionOperands operands = operands_of(info, addon);
  const TensorView out = tensor(info, addon, 4, "the result"), lse = tensor(info, addon, 5, "lse"),
                   out_gradient = tensor(info, addon, 6, "the gradient");
  const ops::AttentionOptions options = options_of(info, 7);
  ops::AttentionGradients result = named(operands, [&] {
    return ops::variable_length_attention_gradients(*addon.engine, *addon.kernels, operands, out,
                                                    lse, out_gradient, options);
  });
  return handles(info.Env(), {&result.q, &result.k, &result.v});
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Addon);
  exports.Set("cudaBuild", Napi::String::New(env, ops::cuda_build()));
  exports.Set("attach", Napi::Function::New(env, guarded<attach>));
  exports.Set("variableLengthAttention", Napi::Function::New(env, guarded<forward>));
  exports.Set("variableLengthAttentionGradients", Napi::Function::New(env, guarded<gradients>));
  return exports;
}

}  // namespace

NODE_API_MODULE(fms_accel_attention_and_distributed_packing, initialise)
