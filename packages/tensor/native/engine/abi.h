#pragma once
#include "engine/tensor_table.h"
#include "fms_accel/tensor_abi.h"

namespace fms_accel {

// The function table for plugins over one environment's tensors; the same pointer for the same
// table of tensors, valid as long as the process lives.
fms_accel_engine_v1* engine_table(TensorTable& tensors);

}  // namespace fms_accel
