// Files as tensors: the pages of a checkpoint are read on first use and can be dropped again by the
// system, so opening costs nothing and frozen weights do not count twice.
#pragma once
#include <string>

#include "engine/tensor.h"

namespace fms_accel {

// Part of a file, from `offset` on, as a read-only uint8 tensor [bytes]: up to the end with bytes
// -1. Its pages leave memory with the last tensor over it, so parts that are mapped alone can go
// alone. `offset` is a multiple of the system's page size (64 KiB always is). Throws Error when the
// file cannot be opened, is not a regular file, or has no such part.
Tensor map_file(const std::string& path, int64_t offset = 0, int64_t bytes = -1);

// A tensor over part of a mapped file, from byte_offset on, without a copy. Throws Error when it
// reaches beyond the end or when the offset is not a multiple of the item size (the caller copies
// then).
Tensor view_bytes(const Tensor& file, int64_t byte_offset, const Shape& shape, DType dtype);

}  // namespace fms_accel
