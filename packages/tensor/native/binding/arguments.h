// Reading JavaScript arguments. Every mistake becomes an Error that names the operation and the
// argument.
#pragma once
#include <napi.h>

#include <optional>
#include <string>

#include "engine/error.h"
#include "engine/tensor.h"
#include "engine/tensor_table.h"

namespace fms_accel {

// What one JavaScript environment (the main thread or a worker) holds: its handles, its result
// record, its error class.
class Environment {
 public:
  explicit Environment(Napi::Env env) : env_(env) {}
  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

  TensorTable& tensors() { return tensors_; }

  // Stores a result and describes it in the shared record that src/native.ts reads:
  // [handle, dtype, device type, device index, offset, ndim, shape x 8, strides x 8].
  double emit(Tensor tensor);
  void describe(Handle handle);
  // What JavaScript has written there before the call: arrays would cost a call for each number.
  Shape recorded_shape(int ndim) const { return recorded(6, ndim); }
  Shape recorded_strides(int ndim) const { return recorded(6 + kMaxDims, ndim); }
  void set_record(Napi::Float64Array record);
  void set_error_class(Napi::Function error_class) { error_class_ = Napi::Persistent(error_class); }
  Napi::Error error(const std::string& message) const;
  // Tells V8 that the bytes of a tensor are freed by its garbage collector, or no longer, so that
  // it runs often enough. Tensors of a scope are not counted: they would only make it run in vain.
  void report_memory(Handle handle, bool is_owned_by_collector);

 private:
  Shape recorded(int first, int count) const;

  Napi::Env env_;
  TensorTable tensors_;
  int64_t collected_bytes_ = 0,
          reported_bytes_ = 0;  // that the collector owns; that V8 was told of
  Napi::Reference<Napi::Float64Array> record_reference_;
  double* record_ = nullptr;
  Napi::FunctionReference error_class_;
};

class Arguments {
 public:
  Arguments(const Napi::CallbackInfo& info, const char* op)
      : info_(info), op_(op), env_(Environment::of(info.Env())) {}

  const char* op() const { return op_; }
  Napi::Env napi() const { return info_.Env(); }
  Napi::Value value(size_t i) const { return info_[i]; }
  Environment& environment() const { return env_; }

  double number(size_t i) const;
  int64_t integer(size_t i) const;
  uint64_t word64(size_t i) const;  // a bigint
  bool boolean(size_t i) const;
  std::string string(size_t i) const;
  DType dtype(size_t i) const;
  Device device(size_t i) const;  // 0 is the CPU, n + 1 is cuda:n (src/device.ts)
  Handle handle(size_t i) const;
  const Tensor& tensor(size_t i) const { return noted(env_.tensors().resolve(handle(i))); }
  // null and undefined give nullptr.
  const Tensor* optional_tensor(size_t i) const;
  std::vector<Tensor> tensors(size_t i) const;
  Shape shape(size_t i) const;  // also any other list of integers
  std::vector<double> numbers(size_t i) const;
  // Results, as an array of handles.
  Napi::Value handles(const std::vector<Tensor>& tensors) const;
  // "[2, 3] float32 on cuda:0, …" of the tensors that were asked for.
  std::string described_tensors() const;

 private:
  const Tensor& noted(const Tensor& tensor) const {
    noted_.push_back(&tensor);
    return tensor;
  }

  const Napi::CallbackInfo& info_;
  const char* op_;
  Environment& env_;
  mutable std::vector<const Tensor*> noted_;
};

// Defines `exports[name]` as a function whose body gets Arguments; an Error thrown inside becomes a
// JavaScript TensorError.
using OpBody = Napi::Value (*)(const Arguments&);
void define(Napi::Env env, Napi::Object exports, const char* name, OpBody body);
// The same for ops with one tensor as result.
using TensorBody = Tensor (*)(const Arguments&);
void define_tensor(Napi::Env env, Napi::Object exports, const char* name, TensorBody body);

// One function for each file of native/binding.
void register_memory(Napi::Env env, Napi::Object exports);
void register_attention(Napi::Env env, Napi::Object exports);
void register_decoder(Napi::Env env, Napi::Object exports);
void register_matmul(Napi::Env env, Napi::Object exports);
void register_elementwise(Napi::Env env, Napi::Object exports);
void register_indexing(Napi::Env env, Napi::Object exports);
void register_optimizer(Napi::Env env, Napi::Object exports);
void register_random(Napi::Env env, Napi::Object exports);
void register_losses(Napi::Env env, Napi::Object exports);
void register_reduce(Napi::Env env, Napi::Object exports);
void register_graph(Napi::Env env, Napi::Object exports);
void register_engine(Napi::Env env, Napi::Object exports);

}  // namespace fms_accel
