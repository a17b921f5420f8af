// The kernels of each instruction set that this addon was built with.
#pragma once
#include <string>

#include "cpu/kernels.h"

namespace fms_accel {

// Throws Error for a name that the addon was not built with. The engine has checked that the
// machine has the instruction set: it uses it itself.
const AttentionKernels& attention_kernels(const std::string& isa);

}  // namespace fms_accel
