#include "binding/arguments.h"

#include <cmath>

#include "engine/allocator.h"

namespace fms_accel {

void Environment::set_record(Napi::Float64Array record) {
  check(record.ElementLength() >= 6 + 2 * kMaxDims, "the result record is too short");
  record_reference_ = Napi::Persistent(record);
  record_ = record.Data();
}

void Environment::describe(Handle handle) {
  const Tensor& tensor = tensors_.resolve(handle);
  check(record_ != nullptr, "the native engine was not initialised");
  record_[0] = static_cast<double>(handle);
  record_[1] = static_cast<double>(tensor.dtype);
  record_[2] = tensor.device().type;
  record_[3] = tensor.device().index;
  record_[4] = static_cast<double>(tensor.offset);
  record_[5] = tensor.ndim;
  for (int d = 0; d < tensor.ndim; ++d) {
    record_[6 + d] = static_cast<double>(tensor.shape[d]);
    record_[6 + kMaxDims + d] = static_cast<double>(tensor.strides[d]);
  }
}

Shape Environment::recorded(int first, int count) const {
  check(record_ != nullptr, "the native engine was not initialised");
  Shape result(static_cast<size_t>(count));
  for (int d = 0; d < count; ++d) {
    const double value = record_[first + d];
    check(value == std::floor(value) && std::abs(value) <= 0x1p53, value, " is not a size");
    result[static_cast<size_t>(d)] = static_cast<int64_t>(value);
  }
  return result;
}

double Environment::emit(Tensor tensor) {
  const Handle handle = tensors_.insert(std::move(tensor));
  describe(handle);
  return static_cast<double>(handle);
}

void Environment::report_memory(Handle handle, bool is_owned_by_collector) {
  const Tensor& tensor = tensors_.resolve(handle);
  // Pages of a file are the system's to take back, and a dry run has none.
  if (tensor.storage->read_only || tensor.storage->dry) return;
  const int64_t bytes = tensor.numel() * static_cast<int64_t>(item_size(tensor.dtype));
  collected_bytes_ += is_owned_by_collector ? bytes : -bytes;
  // V8 collects once some tens of MiB were reported. The gradients of a model come and go with each
  // step: what they were is reported until half of it is gone for good.
  if (collected_bytes_ > reported_bytes_ || collected_bytes_ < reported_bytes_ / 2) {
    Napi::MemoryManagement::AdjustExternalMemory(env_, collected_bytes_ - reported_bytes_);
    reported_bytes_ = collected_bytes_;
  }
}

Napi::Error Environment::error(const std::string& message) const {
  if (error_class_.IsEmpty()) return Napi::Error::New(env_, message);
  return Napi::Error(env_, error_class_.New({Napi::String::New(env_, message)}));
}

double Arguments::number(size_t i) const {
  check(info_[i].IsNumber(), op_, ": argument ", i, " must be a number");
  return info_[i].As<Napi::Number>().DoubleValue();
}

int64_t Arguments::integer(size_t i) const {
  const double value = number(i);
  check(value == std::floor(value) && std::abs(value) <= 0x1p53, op_, ": argument ", i,
        " must be an integer, found ", value);
  return static_cast<int64_t>(value);
}

uint64_t Arguments::word64(size_t i) const {
  check(info_[i].IsBigInt(), op_, ": argument ", i, " must be a bigint");
  bool lossless = false;
  const uint64_t value = info_[i].As<Napi::BigInt>().Uint64Value(&lossless);
  check(lossless, op_, ": argument ", i, " does not fit into 64 bits");
  return value;
}

bool Arguments::boolean(size_t i) const {
  check(info_[i].IsBoolean(), op_, ": argument ", i, " must be a boolean");
  return info_[i].As<Napi::Boolean>().Value();
}

std::string Arguments::string(size_t i) const {
  check(info_[i].IsString(), op_, ": argument ", i, " must be a string");
  return info_[i].As<Napi::String>().Utf8Value();
}

DType Arguments::dtype(size_t i) const {
  const int64_t value = integer(i);
  check(value >= 0 && value < kDTypes, op_, ": argument ", i, " is no dtype: ", value);
  return static_cast<DType>(value);
}

Device Arguments::device(size_t i) const {
  const int64_t value = integer(i);
  check(value >= 0 && value <= 1024, op_, ": argument ", i, " is no device: ", value);
  return value == 0 ? Device{} : Device{2, static_cast<int32_t>(value - 1)};
}

std::string Arguments::described_tensors() const {
  std::string text;
  for (const Tensor* tensor : noted_) {
    text += (text.empty() ? "" : ", ") + shape_of(*tensor) + " " + name_of(tensor->dtype) + " on " +
            name_of(tensor->device());
  }
  return text;
}

Handle Arguments::handle(size_t i) const {
  check(info_[i].IsNumber(), op_, ": argument ", i, " must be a tensor");
  const int64_t value = integer(i);
  check(value >= 0, op_, ": argument ", i, " is no tensor handle");
  return static_cast<Handle>(value);
}

const Tensor* Arguments::optional_tensor(size_t i) const {
  const Napi::Value value = info_[i];
  if (value.IsUndefined() || value.IsNull()) return nullptr;
  return &tensor(i);
}

std::vector<double> Arguments::numbers(size_t i) const {
  check(info_[i].IsArray(), op_, ": argument ", i, " must be an array of numbers");
  const auto array = info_[i].As<Napi::Array>();
  std::vector<double> result(array.Length());
  for (uint32_t k = 0; k < result.size(); ++k) {
    const Napi::Value element = array[k];
    check(element.IsNumber(), op_, ": argument ", i, "[", k, "] must be a number");
    result[k] = element.As<Napi::Number>().DoubleValue();
  }
  return result;
}

Shape Arguments::shape(size_t i) const {
  Shape result;
  for (const double value : numbers(i)) {
    check(value == std::floor(value) && std::abs(value) <= 0x1p53, op_, ": ", value,
          " is not a size");
    result.push_back(static_cast<int64_t>(value));
  }
  return result;
}

std::vector<Tensor> Arguments::tensors(size_t i) const {
  std::vector<Tensor> result;
  for (const double value : numbers(i)) {
    check(value >= 0 && value == std::floor(value) && value <= 0x1p53, op_, ": argument ", i,
          " holds no tensor handle");
    result.push_back(noted(env_.tensors().resolve(static_cast<Handle>(value))));
  }
  return result;
}

Napi::Value Arguments::handles(const std::vector<Tensor>& tensors) const {
  auto result = Napi::Array::New(napi(), tensors.size());
  uint32_t i = 0;
  for (const Tensor& tensor : tensors) result[i++] = Napi::Number::New(napi(), env_.emit(tensor));
  return result;
}

namespace {

template <class Body>
Napi::Value guarded(const Napi::CallbackInfo& info, const char* op, const Body& body) {
  const Arguments arguments(info, op);
  try {
    return body(arguments);
  } catch (const Napi::Error&) {
    throw;
  } catch (const DeviceError& error) {
    throw arguments.environment().error(std::string(op) + " (" + arguments.described_tensors() +
                                        ") failed on the device: " + error.what() + kDeviceRemedy);
  } catch (const std::exception& error) {
    throw Environment::of(info.Env()).error(error.what());
  }
}

template <class Body>
struct Definition {
  const char* name;
  Body body;
};

}  // namespace

void define(Napi::Env env, Napi::Object exports, const char* name, OpBody body) {
  const auto callback = [](const Napi::CallbackInfo& info) -> Napi::Value {
    const auto* definition = static_cast<Definition<OpBody>*>(info.Data());
    return guarded(info, definition->name, definition->body);
  };
  auto* definition = new Definition<OpBody>{name, body};
  exports.Set(name, Napi::Function::New(env, callback, name, definition));
  env.AddCleanupHook([definition] { delete definition; });
}

void define_tensor(Napi::Env env, Napi::Object exports, const char* name, TensorBody body) {
  const auto callback = [](const Napi::CallbackInfo& info) -> Napi::Value {
    const auto* definition = static_cast<Definition<TensorBody>*>(info.Data());
    return guarded(info, definition->name, [&](const Arguments& arguments) -> Napi::Value {
      return Napi::Number::New(info.Env(),
                               arguments.environment().emit(definition->body(arguments)));
    });
  };
  auto* definition = new Definition<TensorBody>{name, body};
  exports.Set(name, Napi::Function::New(env, callback, name, definition));
  env.AddCleanupHook([definition] { delete definition; });
}

}  // namespace fms_accel
