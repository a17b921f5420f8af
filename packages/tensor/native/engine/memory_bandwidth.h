// How fast memory can be read: the limit of what reads every weight once, such as decoding.
#pragma once
#include <vector>

#include "engine/tensor.h"

namespace fms_accel {

// Bytes a second at which all threads together read the elements of `tensors` (contiguous, on the
// host) once.
double read_bandwidth(const std::vector<Tensor>& tensors);

}  // namespace fms_accel
