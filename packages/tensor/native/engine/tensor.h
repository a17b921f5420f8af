// Storage (reference-counted bytes) and Tensor (a strided view of a storage). Native code passes
// Tensors by const reference; JavaScript knows them by handle (engine/tensor_table.h).
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/dtype.h"

namespace fms_accel {

constexpr int kMaxDims = 8;
using Shape = std::vector<int64_t>;

// Bytes that several tensors may view. `owner` frees them.
struct Storage {
  void* data = nullptr;
  size_t bytes = 0;
  Device device;
  bool read_only = false;  // a mapped file
  bool dry = false;        // of a dry run: address space without pages
  bool announced = false;  // may be read ahead (engine/read_ahead.h)
  std::function<void()> free;
  Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  ~Storage();
};

struct Tensor {
  std::shared_ptr<Storage> storage;
  DType dtype = DType::kFloat32;
  int ndim = 0;
  std::array<int64_t, kMaxDims> shape{};
  std::array<int64_t, kMaxDims> strides{};  // in elements; may be 0 (expanded), never negative
  int64_t offset = 0;                       // in elements

  Device device() const { return storage->device; }
  int64_t numel() const {
    int64_t n = 1;
    for (int d = 0; d < ndim; ++d) n *= shape[d];
    return n;
  }
  bool is_contiguous() const {
    int64_t expected = 1;
    for (int d = ndim - 1; d >= 0; --d) {
      if (shape[d] != 1 && strides[d] != expected) return numel() == 0;
      expected *= shape[d];
    }
    return true;
  }
  // Dimension d counted from the end when negative; the caller has checked the range.
  int64_t size(int d) const { return shape[d < 0 ? d + ndim : d]; }
  int64_t stride(int d) const { return strides[d < 0 ? d + ndim : d]; }
  Shape sizes() const { return Shape(shape.begin(), shape.begin() + ndim); }
  void* raw() const {
    return static_cast<char*>(storage->data) + offset * static_cast<int64_t>(item_size(dtype));
  }
  template <class T>
  T* data() const {
    return static_cast<T*>(raw());
  }
};

// A new contiguous tensor, uninitialised. Throws Error for more than kMaxDims dimensions, a
// negative size or more than 2^47 bytes.
Tensor empty(const Shape& shape, DType dtype, Device device = {});
Tensor empty_like(const Tensor& tensor);
// A view of the same storage. Throws Error when an element would lie outside of the storage.
Tensor as_strided(const Tensor& base, const Shape& shape, const Shape& strides, int64_t offset);
// The tensor itself when it is contiguous, else a contiguous copy.
Tensor contiguous(const Tensor& tensor);

std::string to_string(const Shape& shape);
std::string name_of(Device device);  // "cpu", "cuda:0"
inline std::string shape_of(const Tensor& tensor) { return to_string(tensor.sizes()); }

}  // namespace fms_accel
