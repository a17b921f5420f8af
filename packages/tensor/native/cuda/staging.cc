#include "cuda/staging.h"

#include <algorithm>
#include <cstring>

namespace fms_accel::cuda {

void Staging::to_device(void* to, const void* from, size_t bytes, cudaStream_t stream) {
  for (size_t done = 0; done < bytes; done += kBuffer) {
    Buffer& buffer = buffers_[next_];
    next_ = (next_ + 1) % kBuffers;
    if (buffer.data == nullptr) {
      void* data = nullptr;
      require(cudaMallocHost(&data, kBuffer));
      require(cudaEventCreateWithFlags(&buffer.read, cudaEventDisableTiming));
      buffer.data = static_cast<char*>(data);
    } else {
      // Of four copies ago: with small ones, as the tokens of a batch are, it has long been read.
      require(cudaEventSynchronize(buffer.read));
    }
    const size_t size = std::min(kBuffer, bytes - done);
    memcpy(buffer.data, static_cast<const char*>(from) + done, size);
    require(cudaMemcpyAsync(static_cast<char*>(to) + done, buffer.data, size,
                            cudaMemcpyHostToDevice, stream));
    require(cudaEventRecord(buffer.read, stream));
  }
}

}  // namespace fms_accel::cuda
