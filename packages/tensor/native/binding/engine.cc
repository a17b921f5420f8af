// Initialisation, threads and build information; the External through which plugin addons reach the
// engine.
#include "binding/arguments.h"
#include "cpu/dry_run.h"
#include "cpu/isa.h"
#include "cuda/device.h"
#include "engine/abi.h"
#include "engine/allocator.h"
#include "engine/memory_bandwidth.h"
#include "engine/thread_pool.h"

namespace fms_accel {

void register_engine(Napi::Env env, Napi::Object exports) {
  define(env, exports, "initialise", [](const Arguments& a) {
    check(a.value(0).IsTypedArray() && a.value(1).IsFunction(),
          "initialise: expected (Float64Array, error class)");
    a.environment().set_record(a.value(0).As<Napi::Float64Array>());
    a.environment().set_error_class(a.value(1).As<Napi::Function>());
    cpu_kernels();  // reports a wrong FMS_ACCEL_ISA now rather than in the first operation
    return a.napi().Undefined();
  });
  define(env, exports, "engineInfo", [](const Arguments& a) -> Napi::Value {
    auto result = Napi::Object::New(a.napi());
    auto isas = Napi::Array::New(a.napi());
    for (const std::string& isa : available_isas())
      isas[isas.Length()] = Napi::String::New(a.napi(), isa);
    result.Set("abiVersion",
               std::to_string(FMS_ACCEL_ABI_MAJOR) + "." + std::to_string(FMS_ACCEL_ABI_MINOR));
    result.Set("isa", cpu_isa());
    result.Set("availableIsas", isas);
    result.Set("threads", num_threads());
    result.Set("compiler", FMS_ACCEL_COMPILER);
    result.Set("buildType", FMS_ACCEL_BUILD_TYPE);
    return result;
  });
  define(env, exports, "cudaStatus", [](const Arguments& a) -> Napi::Value {
    const cuda::Status status = cuda::probe();
    auto devices = Napi::Array::New(a.napi(), status.devices.size());
    for (uint32_t i = 0; i < status.devices.size(); ++i) {
      const cuda::DeviceDescription& device = status.devices[i];
      auto entry = Napi::Object::New(a.napi());
      entry.Set("name", device.name);
      entry.Set("capability", std::to_string(device.capability / 10) + "." +
                                  std::to_string(device.capability % 10));
      entry.Set("multiprocessors", device.multiprocessors);
      entry.Set("totalBytes", static_cast<double>(device.total_bytes));
      entry.Set("freeBytes", static_cast<double>(device.free_bytes));
      devices[i] = entry;
    }
    auto result = Napi::Object::New(a.napi());
    result.Set("build", status.build);
    result.Set("architectures", status.architectures);
    result.Set("driverVersion", status.driver_version);
    result.Set("runtimeVersion", status.runtime_version);
    result.Set("devices", devices);
    result.Set("cublasLt", status.cublaslt);
    result.Set("problem", status.problem);
    return result;
  });
  define(env, exports, "requireDevice", [](const Arguments& a) {
    if (a.device(0).type == 2) cuda::require_device(a.device(0).index);
    return a.napi().Undefined();
  });
  define(env, exports, "provokeFault", [](const Arguments& a) {
    cuda::provoke_fault(a.tensor(0).device().index);
    return a.napi().Undefined();
  });
  define(env, exports, "synchronize", [](const Arguments& a) {
    if (a.device(0).type == 2) cuda::synchronize(a.device(0).index);
    return a.napi().Undefined();
  });
  define(env, exports, "setNumThreads", [](const Arguments& a) {
    const int64_t threads = a.integer(0);
    check(threads >= 1 && threads <= 1024, "setNumThreads: expected 1 to 1024, found ", threads);
    set_num_threads(static_cast<int>(threads));
    return a.napi().Undefined();
  });
  define(env, exports, "setDryRun", [](const Arguments& a) {
    set_dry_run(a.boolean(0));
    forget_host_memory();
    return a.napi().Undefined();
  });
  define(env, exports, "readBandwidth", [](const Arguments& a) -> Napi::Value {
    return Napi::Number::New(a.napi(), read_bandwidth(a.tensors(0)));
  });
  define(env, exports, "engineExternal", [](const Arguments& a) -> Napi::Value {
    constexpr napi_type_tag kTag{FMS_ACCEL_ENGINE_TAG_LOW, FMS_ACCEL_ENGINE_TAG_HIGH};
    auto external =
        Napi::External<fms_accel_engine_v1>::New(a.napi(), engine_table(a.environment().tensors()));
    check(napi_type_tag_object(a.napi(), external, &kTag) == napi_ok,
          "engineExternal: the value could not be tagged");
    return external;
  });
  // A tensor that a plugin addon allocated through the ABI becomes JavaScript's.
  define(env, exports, "adoptHandle", [](const Arguments& a) -> Napi::Value {
    a.environment().describe(a.handle(0));
    return a.value(0);
  });
}

}  // namespace fms_accel
