// Copies between pageable memory of the host and a device by way of pinned buffers: a copy to the
// device returns once the host's memory has been read, while the device still works on what was
// enqueued before it.
#pragma once
#include <cstddef>

#include "cuda/stream.h"

namespace fms_accel::cuda {

// Of one device; callers take turns. Copies fill one buffer after the other, so that many small
// ones are under way before any is waited for. Never destroyed: work of the device may still read
// it while the process exits.
class Staging {
 public:
  // In stream order; `from` may be changed on return.
  void to_device(void* to, const void* from, size_t bytes, cudaStream_t stream);

  static constexpr size_t kBuffer = size_t{1} << 20;
  static constexpr int kBuffers = 4;

 private:
  struct Buffer {
    char* data = nullptr;
    size_t used = 0;
    cudaEvent_t read = nullptr;  // recorded behind the last copy that reads it
  };
  Buffer buffers_[kBuffers];
  int current_ = 0;
};

}  // namespace fms_accel::cuda
