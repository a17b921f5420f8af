#include "ops/iteration.h"

#include "cpu/isa.h"
#include "cuda/device.h"
#include "engine/error.h"

namespace fms_accel::ops {

const Kernels& kernels_of(const Tensor& tensor) {
  const Device device = tensor.device();
  return device.type == 2 ? cuda::kernels(device.index) : cpu_kernels();
}

Shape broadcast_shape(const char* op, std::initializer_list<const Tensor*> tensors) {
  Shape shape;
  for (const Tensor* tensor : tensors) {
    const size_t ndim = static_cast<size_t>(tensor->ndim);
    if (ndim > shape.size()) shape.insert(shape.begin(), ndim - shape.size(), 1);
    for (size_t d = 0; d < ndim; ++d) {
      int64_t& size = shape[shape.size() - ndim + d];
      const int64_t own = tensor->shape[d];
      if (size == 1) {
        size = own;
      } else if (own != 1 && own != size) {
        std::string shapes;
        for (const Tensor* t : tensors) shapes += (shapes.empty() ? "" : " and ") + shape_of(*t);
        fail(op, ": shapes ", shapes, " do not broadcast");
      }
    }
  }
  return shape;
}

void check_same_device(const char* op, std::initializer_list<const Tensor*> tensors) {
  for (const Tensor* tensor : tensors) {
    check(tensor->device() == (*tensors.begin())->device(), op,
          ": tensors lie on different devices (", name_of((*tensors.begin())->device()), " and ",
          name_of(tensor->device()), "); move one with to(tensor, device)");
  }
}

Iteration iterate(const Shape& shape, std::initializer_list<const Tensor*> tensors) {
  Iteration result;
  const int count = static_cast<int>(tensors.size());
  check(count <= kMaxOperands, "iterate: ", count, " operands");
  const int ndim = static_cast<int>(shape.size());
  Loop& loop = result.loop;
  loop.numel = 1;
  for (const int64_t size : shape) loop.numel *= size;
  int t = 0;
  for (const Tensor* tensor : tensors) {
    result.operands[t].data = tensor->raw();
    result.operands[t].dtype = tensor->dtype;
    ++t;
  }
  for (int d = 0; d < ndim; ++d) {
    if (shape[d] == 1) continue;
    int64_t strides[kMaxOperands];
    t = 0;
    for (const Tensor* tensor : tensors) {
      const int own = d - (ndim - tensor->ndim);
      strides[t++] = own >= 0 && tensor->shape[own] != 1 ? tensor->strides[own] : 0;
    }
    // Merging with the dimension before: its stride must be this dimension's stride times its size,
    // for every operand.
    bool merges = loop.ndim > 0;
    for (t = 0; merges && t < count; ++t) {
      merges = result.operands[t].strides[loop.ndim - 1] == strides[t] * shape[d];
    }
    const int to = merges ? loop.ndim - 1 : loop.ndim++;
    loop.shape[to] = merges ? loop.shape[to] * shape[d] : shape[d];
    for (t = 0; t < count; ++t) result.operands[t].strides[to] = strides[t];
  }
  if (loop.ndim == 0) {  // a single element
    loop.ndim = 1;
    loop.shape[0] = 1;
    for (t = 0; t < count; ++t) result.operands[t].strides[0] = 1;
  }
  return result;
}

int dimension(const char* op, int64_t dim, int ndim) {
  check(dim >= -ndim && dim < ndim, op, ": dimension ", dim, " is out of range for ", ndim,
        " dimensions");
  return static_cast<int>(dim < 0 ? dim + ndim : dim);
}

Tensor without(const Tensor& x, int dim) {
  Tensor rest = x;
  rest.ndim = 0;
  for (int d = 0; d < x.ndim; ++d) {
    if (d == dim) continue;
    rest.shape[rest.ndim] = x.shape[d];
    rest.strides[rest.ndim++] = x.strides[d];
  }
  return rest;
}

void check_writable(const char* op, const Tensor& tensor) {
  check(!tensor.storage->read_only, op,
        ": the tensor lies in a read-only mapped file; copy it first");
}

}  // namespace fms_accel::ops
