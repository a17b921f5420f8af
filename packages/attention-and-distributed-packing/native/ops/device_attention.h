// Variable-length attention on the cuda device.
#pragma once
#include "cpu/kernels.h"
#include "engine/engine.h"

namespace fms_accel::ops {

// "none" where this addon was built without nvcc, else "cuda" or "emulator".
const char* cuda_build();

// cu_seqlens is [sequences + 1] on the device, its values unchecked.
struct DeviceSequences {
  fms_accel_device device;
  const int32_t* cu_seqlens;
  int64_t sequences, tokens;
};
// Both throw DeviceError, and Error where there are no kernels. Where cu_seqlens does not rise from
// 0 to the number of tokens, forward's error "<message>, found <value> at <position>" comes at the
// next point that waits for the device.
void device_forward(const Engine&, const DeviceSequences&, const std::string& message,
                    const Attention&);
void device_backward(const Engine&, const DeviceSequences&, const Attention&);

}  // namespace fms_accel::ops
