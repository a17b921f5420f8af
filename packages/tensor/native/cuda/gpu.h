// What kernels of the engine include for the device (fms_accel/cuda/gpu.h), and how they are
// launched on the current device's stream.
#pragma once
#include "cuda/stream.h"
#include "fms_accel/cuda/gpu.h"

namespace fms_accel::cuda {

template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, A... arguments) {
  require(launch_on(current_stream(), kernel, grid, block, shared_bytes, arguments...));
  launched();
}

}  // namespace fms_accel::cuda
