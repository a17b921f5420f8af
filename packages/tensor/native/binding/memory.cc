// Creating, viewing, releasing tensors, and moving bytes between them and JavaScript.
#include <cstring>

#include "binding/arguments.h"
#include "cpu/dry_run.h"
#include "cuda/device.h"
#include "engine/allocator.h"
#include "engine/mapped_file.h"
#include "ops/copy.h"
#include "ops/iteration.h"

namespace fms_accel {
namespace {

// The bytes of any ArrayBufferView.
std::pair<const uint8_t*, size_t> bytes_of(const Arguments& a, size_t i) {
  check(a.value(i).IsTypedArray(), a.op(), ": argument ", i, " must be a typed array");
  const auto array = a.value(i).As<Napi::TypedArray>();
  return {static_cast<const uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset(),
          array.ByteLength()};
}

}  // namespace

void register_memory(Napi::Env env, Napi::Object exports) {
  define_tensor(env, exports, "empty",
                [](const Arguments& a) { return empty(a.shape(0), a.dtype(1), a.device(2)); });
  define_tensor(env, exports, "fromBytes", [](const Arguments& a) {
    const Device device = a.device(3);
    Tensor tensor = empty(a.shape(1), a.dtype(2), device);
    const auto [data, size] = bytes_of(a, 0);
    check(size == tensor.storage->bytes, a.op(), ": shape ", shape_of(tensor), " of ",
          name_of(tensor.dtype), " needs ", tensor.storage->bytes, " bytes, found ", size);
    if (device.type == 2) {
      cuda::copy(tensor.raw(), device, data, Device{}, size);
    } else if (size > 0) {
      memcpy(tensor.raw(), data, size);
    }
    return tensor;
  });
  define(env, exports, "writeBytes", [](const Arguments& a) {
    const Tensor& target = a.tensor(0);
    const auto [data, size] = bytes_of(a, 1);
    ops::check_writable(a.op(), target);
    check(target.is_contiguous() &&
              size == static_cast<size_t>(target.numel()) * item_size(target.dtype),
          a.op(), ": ", size, " bytes into ", name_of(target.dtype), " ", shape_of(target),
          ", which must be contiguous and as large");
    if (target.device().type == 2) {
      cuda::copy(target.raw(), target.device(), data, Device{}, size);
    } else if (size > 0) {
      memcpy(target.raw(), data, size);
    }
    return a.napi().Undefined();
  });
  define_tensor(env, exports, "asStrided", [](const Arguments& a) {
    const int64_t ndim = a.integer(1);
    check(ndim >= 0 && ndim <= kMaxDims, "a view of ", ndim, " dimensions; at most ", kMaxDims);
    return as_strided(a.tensor(0), a.environment().recorded_shape(static_cast<int>(ndim)),
                      a.environment().recorded_strides(static_cast<int>(ndim)), a.integer(2));
  });
  define_tensor(env, exports, "alias", [](const Arguments& a) { return Tensor(a.tensor(0)); });
  define_tensor(env, exports, "contiguous",
                [](const Arguments& a) { return contiguous(a.tensor(0)); });
  define_tensor(env, exports, "toDevice",
                [](const Arguments& a) { return ops::to_device(a.tensor(0), a.device(1)); });
  define_tensor(env, exports, "mapFile", [](const Arguments& a) {
    return map_file(a.string(0), a.integer(1), a.integer(2));
  });
  define_tensor(env, exports, "viewBytes", [](const Arguments& a) {
    return view_bytes(a.tensor(0), a.integer(1), a.shape(2), a.dtype(3));
  });
  define(env, exports, "release", [](const Arguments& a) {
    a.environment().tensors().release(a.handle(0));
    return a.napi().Undefined();
  });
  define(env, exports, "reportMemory", [](const Arguments& a) {
    a.environment().report_memory(a.handle(0), a.boolean(1));
    return a.napi().Undefined();
  });
  define(env, exports, "describe", [](const Arguments& a) {
    a.environment().describe(a.handle(0));
    return a.napi().Undefined();
  });
  define(env, exports, "isExclusive", [](const Arguments& a) -> Napi::Value {
    const Tensor& tensor = a.tensor(0);
    return Napi::Boolean::New(a.napi(),
                              tensor.storage.use_count() == 1 && !tensor.storage->read_only);
  });
  define(env, exports, "readBytes", [](const Arguments& a) -> Napi::Value {
    const Tensor source = contiguous(a.tensor(0));
    const size_t size = static_cast<size_t>(source.numel()) * item_size(source.dtype);
    auto buffer = Napi::ArrayBuffer::New(a.napi(), size);
    if (source.device().type == 2) {
      cuda::copy(buffer.Data(), Device{}, source.raw(), source.device(), size);
    } else if (size > 0 && is_dry_run() && is_floating(source.dtype)) {
      memset(buffer.Data(), 0, size);  // nothing was computed; what lies there may look like a NaN
    } else if (size > 0) {
      memcpy(buffer.Data(), source.raw(), size);
    }
    return buffer;
  });
  define(env, exports, "memoryStatistics", [](const Arguments& a) -> Napi::Value {
    const Device device = a.device(0);
    const MemoryStatistics statistics =
        device.type == 2 ? cuda::memory_statistics(device.index) : host_memory_statistics();
    auto result = Napi::Object::New(a.napi());
    result.Set("liveBytes", static_cast<double>(statistics.live_bytes));
    result.Set("peakBytes", static_cast<double>(statistics.peak_bytes));
    result.Set("cachedBytes", static_cast<double>(statistics.cached_bytes));
    result.Set("graphBytes", static_cast<double>(statistics.graph_bytes));
    result.Set("liveTensors", static_cast<double>(a.environment().tensors().live()));
    return result;
  });
  define(env, exports, "workStatistics", [](const Arguments& a) -> Napi::Value {
    const Device device = a.device(0);
    const cuda::WorkStatistics statistics =
        device.type == 2 ? cuda::work_statistics(device.index) : cuda::WorkStatistics{};
    auto result = Napi::Object::New(a.napi());
    result.Set("launches", static_cast<double>(statistics.launches));
    result.Set("waits", static_cast<double>(statistics.waits));
    result.Set("libraryProducts", static_cast<double>(statistics.library_products));
    result.Set("graphLaunches", static_cast<double>(statistics.graph_launches));
    result.Set("bytesToDevice", static_cast<double>(statistics.bytes_to_device));
    result.Set("bytesToHost", static_cast<double>(statistics.bytes_to_host));
    return result;
  });
  define(env, exports, "resetPeakMemory", [](const Arguments& a) {
    const Device device = a.device(0);
    device.type == 2 ? cuda::reset_peak(device.index) : reset_peak_host_memory();
    return a.napi().Undefined();
  });
  define(env, exports, "releaseCachedMemory", [](const Arguments& a) {
    const Device device = a.device(0);
    device.type == 2 ? cuda::release_cached(device.index) : release_cached_host_memory();
    return a.napi().Undefined();
  });
}

}  // namespace fms_accel
