// Where kernels of this addon are enqueued: the engine's stream of a device.
#pragma once
#include "engine/engine.h"
#include "fms_accel/cuda/gpu.h"

namespace fms_accel::cuda {

class Queue {
 public:
  // Throws Error where the device cannot be had.
  Queue(const Engine& engine, fms_accel_device device)
      : engine_(engine),
        device_(device),
        stream_(static_cast<cudaStream_t>(engine.stream(device))) {
    require(cudaSetDevice(device.device_id));
  }

  // Throws DeviceError.
  template <class... P, class... A>
  void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
              A... arguments) const {
    require(launch_on(stream_, kernel, grid, block, shared_bytes, arguments...));
    engine_.launched(device_);
  }

 private:
  static void require(cudaError_t status) {
    if (status == cudaSuccess) return;
    cudaGetLastError();
    throw DeviceError(std::string(cudaGetErrorName(status)) + ": " + cudaGetErrorString(status) +
                      ". The fault may be of an earlier operation: run again with "
                      "FMS_ACCEL_CUDA_SYNC=1 to see which; start again from the last checkpoint");
  }

  const Engine& engine_;
  fms_accel_device device_;
  cudaStream_t stream_;
};

}  // namespace fms_accel::cuda
