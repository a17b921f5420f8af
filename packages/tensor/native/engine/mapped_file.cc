#include "engine/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "engine/error.h"

namespace fms_accel {

Tensor map_file(const std::string& path, int64_t offset, int64_t bytes) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  check(file >= 0, path, ": cannot be opened: ", strerror(errno));
  struct stat status;
  if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(file);
    fail(path, ": is not a regular file");
  }
  const int64_t end = static_cast<int64_t>(status.st_size);
  if (bytes == -1) bytes = end - offset;
  if (offset < 0 || bytes < 0 || offset > end || bytes > end - offset) {
    close(file);
    fail(path, ": the part of ", bytes, " bytes from ", offset, " on reaches beyond its end at ",
         end);
  }
  const size_t size = static_cast<size_t>(bytes);
  auto storage = std::make_shared<Storage>();
  if (size > 0) {
    void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, static_cast<off_t>(offset));
    const int error = errno;
    close(file);
    check(data != MAP_FAILED, path, ": cannot be mapped: ", strerror(error));
    storage->data = data;
    storage->free = [data, size] { munmap(data, size); };
  } else {
    close(file);
  }
  storage->bytes = size;
  storage->read_only = true;
  Tensor tensor;
  tensor.storage = std::move(storage);
  tensor.dtype = DType::kUint8;
  tensor.ndim = 1;
  tensor.shape[0] = bytes;
  tensor.strides[0] = 1;
  return tensor;
}

Tensor view_bytes(const Tensor& file, int64_t byte_offset, const Shape& shape, DType dtype) {
  check(file.dtype == DType::kUint8 && file.is_contiguous() && file.ndim == 1,
        "viewBytes: expected a mapped file");
  const int64_t item = static_cast<int64_t>(item_size(dtype));
  check(byte_offset >= 0 && byte_offset % item == 0, "viewBytes: offset ", byte_offset,
        " is not a multiple of ", item);
  Tensor base = file;
  base.dtype = dtype;
  Shape strides(shape.size());
  int64_t step = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    check(shape[d] >= 0 && (shape[d] == 0 || step <= (int64_t{1} << 47) / shape[d]),
          "viewBytes: bad shape ", to_string(shape));
    strides[d] = step;
    step *= std::max<int64_t>(shape[d], 1);
  }
  return as_strided(base, shape, strides, byte_offset / item);
}

}  // namespace fms_accel
