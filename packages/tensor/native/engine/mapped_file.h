// Files as tensors: the pages of a checkpoint are read on first use and can be dropped again by the
// system, so opening costs nothing and frozen weights do not count twice.
#pragma once
#include <string>

#include "engine/tensor.h"

namespace fms_accel {

// The whole file as a read-only uint8 tensor [bytes]. Throws Error when it cannot be opened or is
// not a regular file.
Tensor map_file(const std::string& path);

// A tensor over part of a mapped file, from byte_offset on, without a copy. Throws Error when it
// reaches beyond the end or when the offset is not a multiple of the item size (the caller copies
// then).
Tensor view_bytes(const Tensor& file, int64_t byte_offset, const Shape& shape, DType dtype);

}  // namespace fms_accel
