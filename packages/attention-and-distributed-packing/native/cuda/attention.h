// The kernels of the cuda device. `Attention` has addresses on the device; what is said of it in
// cpu/kernels.h holds.
#pragma once
#include <cstdint>

#include "cpu/kernels.h"
#include "fms_accel/tensor_abi.h"

namespace fms_accel::cuda {

class Queue;
struct Bounds;

// bounds.cu: writes `record` where cu_seqlens does not rise from 0 to the number of tokens.
void check_bounds(const Queue&, const Bounds&, fms_accel_device_record* record);

// forward.cu: `out` and `lse`.
void forward(const Queue&, const Attention&, const Bounds&);
// query_gradients.cu: `delta` and `q_gradient`.
void query_gradients(const Queue&, const Attention&, const Bounds&);
// key_gradients.cu: `k_gradient` and `v_gradient`, from `delta`.
void key_gradients(const Queue&, const Attention&, const Bounds&);

}  // namespace fms_accel::cuda
