// What launchers need of the device layer: the stream that work goes to, scratch memory, and
// errors.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#if defined(__CUDACC__) || defined(FMS_ACCEL_CUDA_TOOLKIT)
#include <cuda_runtime.h>
#else
#include "cuda_emulator/types.h"
#endif

namespace fms_accel::cuda {

// Throws DeviceError (engine/error.h) with CUDA's message and what would help.
void require(cudaError_t status);

// Of the device that `kernels()` made current on this thread.
int current_device();
cudaStream_t current_stream();
// Called after each launch: waits for it where FMS_ACCEL_CUDA_SYNC=1 asks for that.
void launched();

// Whether work is recorded for a graph rather than done.
bool is_capturing();
// While a graph is recorded: where its draws find seed and offset. Else none.
const uint64_t* captured_random_state();

// A product that cuBLASLt was given.
void count_library_product();

// Device memory for the work that is enqueued while this object lives, in stream order.
class Scratch {
 public:
  explicit Scratch(size_t bytes);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  int device_;
  size_t bytes_;
  void* data_;
};

void copy_on_device(void* to, const void* from, size_t bytes);
// Copies `bytes` from the device and waits for everything before it.
void read_back(void* to, const void* from, size_t bytes);

}  // namespace fms_accel::cuda
