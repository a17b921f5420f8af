// From tensors to Loops: broadcasting, merging of dimensions, and the choice of a device's kernels.
#pragma once
#include <initializer_list>

#include "cpu/kernels.h"
#include "engine/tensor.h"

namespace fms_accel::ops {

// The kernels of the device that a tensor lies on.
const Kernels& kernels_of(const Tensor& tensor);

// The shape that all of `tensors` broadcast to (numpy's rule). Throws Error that names `op` and the
// shapes.
Shape broadcast_shape(const char* op, std::initializer_list<const Tensor*> tensors);

// Throws Error unless all tensors lie on one device.
void check_same_device(const char* op, std::initializer_list<const Tensor*> tensors);

constexpr int kMaxOperands = 5;
struct Iteration {
  Loop loop;
  Operand operands[kMaxOperands];
};
// A loop over `shape` with one operand for each tensor (each broadcast to `shape`); adjacent
// dimensions that every operand walks evenly are merged, so contiguous tensors give one dimension.
Iteration iterate(const Shape& shape, std::initializer_list<const Tensor*> tensors);

// Dimension `dim` in [-ndim, ndim) as 0..ndim-1. Throws Error.
int dimension(const char* op, int64_t dim, int ndim);

// A view of the first element of dimension `dim`, which is taken out.
Tensor without(const Tensor& tensor, int dim);

void check_writable(const char* op, const Tensor& tensor);

}  // namespace fms_accel::ops
