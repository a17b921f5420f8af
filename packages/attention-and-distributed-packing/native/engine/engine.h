// The tensor engine through its C ABI: handles that are checked, memory that is given back, errors
// as exceptions.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "engine/error.h"
#include "fms_accel/tensor_abi.h"

namespace fms_accel {

// What a handle stands for; valid until the call into the addon returns.
struct TensorView : fms_accel_tensor_view {
  int64_t size(int d) const { return shape[d]; }
  int64_t stride(int d) const { return strides[d]; }
  bool is(fms_accel_dtype other) const {
    return dtype.code == other.code && dtype.bits == other.bits && dtype.lanes == other.lanes;
  }
};

constexpr fms_accel_dtype kFloat32Type{2, 32, 1}, kBFloat16Type{4, 16, 1}, kFloat16Type{2, 16, 1},
    kInt32Type{0, 32, 1};

constexpr fms_accel_device kCpu{1, 0};
constexpr bool is_cuda(fms_accel_device device) { return device.device_type == 2; }

std::string name_of(fms_accel_dtype dtype);
std::string shape_of(const TensorView& view);  // "[2, 3]"

class Engine;

// A tensor that this addon has made: released with the object, unless JavaScript takes it over.
class NewTensor {
 public:
  NewTensor(const Engine& engine, fms_accel_dtype dtype, std::vector<int64_t> shape,
            fms_accel_device device = kCpu);
  ~NewTensor();
  NewTensor(NewTensor&& other) noexcept
      : engine_(other.engine_), handle_(other.handle_), data_(other.data_) {
    other.engine_ = nullptr;
  }
  NewTensor(const NewTensor&) = delete;
  NewTensor& operator=(const NewTensor&) = delete;

  void* data() const { return data_; }
  fms_accel_handle hand_over() {
    engine_ = nullptr;
    return handle_;
  }

 private:
  const Engine* engine_;
  fms_accel_handle handle_ = 0;
  void* data_ = nullptr;
};

class Engine {
 public:
  // Throws Error when the engine's ABI is another one than this addon was compiled for.
  explicit Engine(const fms_accel_engine_v1* table);

  const fms_accel_engine_v1& table() const { return *table_; }
  fms_accel_engine_context* context() const { return table_->context; }
  int num_threads() const { return table_->num_threads(context()); }
  // Throws what a function of the table that gave `status` failed with: DeviceError where the
  // device did, else Error.
  void require(int status) const;
  TensorView resolve(fms_accel_handle handle) const;

  // Throws Error where the device cannot be had.
  void* stream(fms_accel_device device) const;
  // A record that the device's kernels may write: then the error is "<message>, found <value> at
  // <position>".
  fms_accel_device_record* device_record(fms_accel_device device, const std::string& message) const;
  void launched(fms_accel_device device) const { require(table_->launched(context(), device)); }

  // body(item, thread) for each item, handed out in rising order; body must not throw.
  template <class Body>
  void parallel_for(int64_t items, const Body& body) const {
    table_->parallel_for(
        context(), items,
        [](void* argument, int64_t item, int32_t thread) noexcept {
          (*static_cast<const Body*>(argument))(item, thread);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }
  // Null when there is no memory.
  void* workspace(int thread, size_t bytes) const noexcept {
    return table_->workspace(context(), thread, 0, bytes);
  }

 private:
  const fms_accel_engine_v1* table_;
};

}  // namespace fms_accel
