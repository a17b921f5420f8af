#include "engine/abi.h"

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "cuda/device.h"
#include "engine/error.h"
#include "engine/thread_pool.h"

struct fms_accel_engine_context {
  fms_accel::TensorTable* tensors;
  std::string error;
};

namespace fms_accel {
namespace {

using Context = fms_accel_engine_context;

// No exception may cross the C boundary: it becomes a status and a message.
template <class Body>
int guarded(Context* context, const Body& body) {
  try {
    body();
    return 0;
  } catch (const DeviceError& error) {
    context->error = std::string(error.what()) + kDeviceRemedy;
    return FMS_ACCEL_DEVICE_FAILED;
  } catch (const std::exception& error) {
    context->error = error.what();
  }
  return 1;
}

constexpr fms_accel_dtype kDlpackTypes[kDTypes] = {{2, 32, 1}, {4, 16, 1}, {2, 16, 1}, {0, 32, 1},
                                                   {0, 64, 1}, {1, 8, 1},  {6, 8, 1}};

DType dtype_of(fms_accel_dtype type) {
  for (int i = 0; i < kDTypes; ++i) {
    if (kDlpackTypes[i].code == type.code && kDlpackTypes[i].bits == type.bits && type.lanes == 1)
      return static_cast<DType>(i);
  }
  fail("dtype code ", int{type.code}, " with ", int{type.bits}, " bits is not supported");
}

int resolve(Context* context, fms_accel_handle handle, fms_accel_tensor_view* view) {
  return guarded(context, [&] {
    const Tensor& tensor = context->tensors->resolve(handle);
    view->data = tensor.raw();
    view->device = {tensor.device().type, tensor.device().index};
    view->ndim = tensor.ndim;
    view->dtype = kDlpackTypes[static_cast<int>(tensor.dtype)];
    view->shape = tensor.shape.data();
    view->strides = tensor.strides.data();
    view->byte_offset = 0;
  });
}

int allocate(Context* context, fms_accel_dtype dtype, const int64_t* shape, int32_t ndim,
             fms_accel_device device, fms_accel_handle* handle) {
  return guarded(context, [&] {
    check(ndim >= 0 && ndim <= kMaxDims, "allocate: ", ndim, " dimensions");
    *handle = context->tensors->insert(empty(Shape(shape, shape + ndim), dtype_of(dtype),
                                             Device{device.device_type, device.device_id}));
  });
}

int release(Context* context, fms_accel_handle handle) {
  return guarded(context, [&] { context->tensors->release(handle); });
}

int is_read_only(Context* context, fms_accel_handle handle) {
  int result = 0;
  guarded(context, [&] { result = context->tensors->resolve(handle).storage->read_only; });
  return result;
}

// Runs on any thread, so it leaves no message.
void* plugin_workspace(Context*, int32_t thread, int32_t purpose, size_t bytes) {
  try {
    return workspace(thread, purpose, bytes);
  } catch (const std::exception&) {
    return nullptr;
  }
}

}  // namespace

fms_accel_engine_v1* engine_table(TensorTable& tensors) {
  struct Entry {
    Context context;
    fms_accel_engine_v1 table;
  };
  static std::mutex mutex;
  static auto* entries = new std::map<TensorTable*, std::unique_ptr<Entry>>;
  const std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<Entry>& entry = (*entries)[&tensors];
  if (!entry) {
    entry = std::make_unique<Entry>();
    entry->context.tensors = &tensors;
    entry->table = {
        .abi_major = FMS_ACCEL_ABI_MAJOR,
        .abi_minor = FMS_ACCEL_ABI_MINOR,
        .struct_size = sizeof(fms_accel_engine_v1),
        .context = &entry->context,
        .resolve = resolve,
        .allocate = allocate,
        .release = release,
        .is_read_only = is_read_only,
        .workspace = plugin_workspace,
        .parallel_for = [](Context*, int64_t items, fms_accel_parallel_body body,
                           void* argument) { parallel_for(items, body, argument); },
        .num_threads = [](Context*) -> int32_t { return num_threads(); },
        .stream = [](Context* context, fms_accel_device device) -> void* {
          void* stream = nullptr;
          guarded(context, [&] {
            if (device.device_type != 2) return;
            cuda::require_device(device.device_id);
            stream = cuda::stream(device.device_id);
          });
          return stream;
        },
        .set_error = [](Context* context, const char* message) { context->error = message; },
        .last_error = [](Context* context) { return context->error.c_str(); },
        .device_record = [](Context* context, fms_accel_device device, const char* message,
                            fms_accel_device_record** record) -> int {
          return guarded(context,
                         [&] { *record = cuda::plugin_record(device.device_id, message); });
        },
        .launched = [](Context* context, fms_accel_device device) -> int {
          return guarded(context, [&] { cuda::plugin_launched(device.device_id); });
        },
    };
  }
  return &entry->table;
}

}  // namespace fms_accel
