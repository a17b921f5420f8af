#include "cuda/staging.h"

#include <algorithm>
#include <cstring>

namespace fms_accel::cuda {

void Staging::to_device(void* to, const void* from, size_t bytes, cudaStream_t stream) {
  for (size_t done = 0; done < bytes;) {
    if (buffers_[current_].used == kBuffer) {
      require(cudaEventRecord(buffers_[current_].read, stream));
      current_ = (current_ + 1) % kBuffers;
      // Of three buffers ago: with small copies, as the tokens of a batch are, it has long been
      // read.
      if (buffers_[current_].data != nullptr)
        require(cudaEventSynchronize(buffers_[current_].read));
      buffers_[current_].used = 0;
    }
    Buffer& buffer = buffers_[current_];
    if (buffer.data == nullptr) {
      void* data = nullptr;
      require(cudaEventCreateWithFlags(&buffer.read, cudaEventDisableTiming));
      require(cudaMallocHost(&data, kBuffer));
      buffer.data = static_cast<char*>(data);
    }
    const size_t size = std::min(kBuffer - buffer.used, bytes - done);
    char* const pinned = buffer.data + buffer.used;
    memcpy(pinned, static_cast<const char*>(from) + done, size);
    require(cudaMemcpyAsync(static_cast<char*>(to) + done, pinned, size, cudaMemcpyHostToDevice,
                            stream));
    buffer.used = std::min(kBuffer, (buffer.used + size + 255) / 256 * 256);
    done += size;
  }
}

}  // namespace fms_accel::cuda
