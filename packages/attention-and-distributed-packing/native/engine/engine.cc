#include "engine/engine.h"

namespace fms_accel {

std::string name_of(fms_accel_dtype dtype) {
  const char* names[] = {"int", "uint", "float", "", "bfloat", "", "bool"};
  const std::string name = dtype.code < 7 ? names[dtype.code] : "unknown";
  return dtype.code == 6 ? name : name + std::to_string(dtype.bits);
}

std::string shape_of(const TensorView& view) {
  std::string text = "[";
  for (int d = 0; d < view.ndim; ++d) text += (d > 0 ? ", " : "") + std::to_string(view.size(d));
  return text + "]";
}

Engine::Engine(const fms_accel_engine_v1* table) : table_(table) {
  check(
      table->abi_major == FMS_ACCEL_ABI_MAJOR && table->struct_size >= sizeof(fms_accel_engine_v1),
      "the engine has version ", table->abi_major, ".", table->abi_minor,
      " of its C ABI, this addon was compiled for ", FMS_ACCEL_ABI_MAJOR, ".", FMS_ACCEL_ABI_MINOR);
}

void Engine::require(int status) const {
  if (status == FMS_ACCEL_DEVICE_FAILED) throw DeviceError(table_->last_error(context()));
  if (status != 0) fail(table_->last_error(context()));
}

TensorView Engine::resolve(fms_accel_handle handle) const {
  TensorView view;
  require(table_->resolve(context(), handle, &view));
  return view;
}

void* Engine::stream(fms_accel_device device) const {
  void* stream = table_->stream(context(), device);
  if (stream == nullptr) fail(table_->last_error(context()));
  return stream;
}

fms_accel_device_record* Engine::device_record(fms_accel_device device,
                                               const std::string& message) const {
  fms_accel_device_record* record = nullptr;
  require(table_->device_record(context(), device, message.c_str(), &record));
  return record;
}

NewTensor::NewTensor(const Engine& engine, fms_accel_dtype dtype, std::vector<int64_t> shape,
                     fms_accel_device device)
    : engine_(&engine) {
  const fms_accel_engine_v1& table = engine.table();
  engine.require(table.allocate(engine.context(), dtype, shape.data(),
                                static_cast<int32_t>(shape.size()), device, &handle_));
  data_ = engine.resolve(handle_).data;
}

NewTensor::~NewTensor() {
  if (engine_ != nullptr) engine_->table().release(engine_->context(), handle_);
}

}  // namespace fms_accel
