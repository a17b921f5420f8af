#include "engine/tensor.h"

#include "cpu/dry_run.h"
#include "cuda/device.h"
#include "engine/allocator.h"
#include "engine/error.h"
#include "engine/read_ahead.h"
#include "ops/copy.h"

namespace fms_accel {

Storage::~Storage() {
  if (announced) forget_announced_reads();
  if (free) free();
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (size_t d = 0; d < shape.size(); ++d) text += (d ? ", " : "") + std::to_string(shape[d]);
  return text + "]";
}

std::string name_of(Device device) {
  return device.type == 1 ? "cpu" : "cuda:" + std::to_string(device.index);
}

Tensor empty(const Shape& shape, DType dtype, Device device) {
  check(shape.size() <= kMaxDims, "a tensor has at most ", kMaxDims, " dimensions, found ",
        shape.size());
  check(device.type == 1 || device.type == 2, "unknown device type ", device.type);
  if (device.type == 2) cuda::require_device(device.index);
  Tensor tensor;
  tensor.dtype = dtype;
  tensor.ndim = static_cast<int>(shape.size());
  int64_t elements = 1;
  for (int d = tensor.ndim - 1; d >= 0; --d) {
    check(shape[d] >= 0, "negative size in shape ", to_string(shape));
    tensor.shape[d] = shape[d];
    tensor.strides[d] = elements;
    check(shape[d] == 0 || elements <= (int64_t{1} << 47) / shape[d], "shape ", to_string(shape),
          " is too large");
    elements *= std::max<int64_t>(shape[d], 1);
  }
  const size_t bytes = static_cast<size_t>(tensor.numel()) * item_size(dtype);
  auto storage = std::make_shared<Storage>();
  storage->bytes = bytes;
  storage->device = device;
  if (device.type == 2) {
    try {
      storage->data = cuda::allocate(device.index, bytes);
    } catch (const OutOfMemory& error) {
      fail("no room for a tensor ", to_string(shape), " of ", name_of(dtype), ": ", error.what());
    }
    storage->free = [data = storage->data, bytes, index = device.index] {
      cuda::release(index, data, bytes);
    };
  } else {
    storage->data = allocate_host(bytes);
    storage->dry = is_dry_run();
    storage->free = [data = storage->data, bytes] { free_host(data, bytes); };
  }
  tensor.storage = std::move(storage);
  return tensor;
}

Tensor empty_like(const Tensor& tensor) {
  return empty(tensor.sizes(), tensor.dtype, tensor.device());
}

Tensor as_strided(const Tensor& base, const Shape& shape, const Shape& strides, int64_t offset) {
  check(shape.size() == strides.size() && shape.size() <= kMaxDims, "view: ", shape.size(),
        " sizes and ", strides.size(), " strides");
  Tensor view = base;
  view.ndim = static_cast<int>(shape.size());
  view.offset = offset;
  const int64_t available = static_cast<int64_t>(base.storage->bytes / item_size(base.dtype));
  check(offset >= 0 && offset <= available, "view: offset ", offset, " lies outside of ", available,
        " elements");
  int64_t last = offset;
  const bool is_empty = std::find(shape.begin(), shape.end(), 0) != shape.end();
  for (int d = 0; d < view.ndim; ++d) {
    check(shape[d] >= 0 && strides[d] >= 0, "view: negative size or stride in ", to_string(shape),
          ", ", to_string(strides));
    view.shape[d] = shape[d];
    view.strides[d] = strides[d];
    if (!is_empty && shape[d] > 1 && strides[d] > 0) {
      check(shape[d] - 1 <= (available - last) / strides[d], "view: shape ", to_string(shape),
            " with strides ", to_string(strides), " and offset ", offset, " reaches beyond ",
            available, " elements");
      last += (shape[d] - 1) * strides[d];
    }
  }
  check(is_empty || last < available, "view: shape ", to_string(shape), " with offset ", offset,
        " reaches beyond ", available, " elements");
  return view;
}

Tensor contiguous(const Tensor& tensor) {
  if (tensor.is_contiguous()) return tensor;
  Tensor result = empty_like(tensor);
  ops::copy_into(result, tensor);
  return result;
}

}  // namespace fms_accel
