// Which instruction set the CPU kernels use: the best that the machine has, or what FMS_ACCEL_ISA
// names.
#pragma once
#include <string>
#include <vector>

#include "cpu/kernels.h"

namespace fms_accel {

// The kernels in use: those of the instruction set, or dry ones (cpu/dry_run.h). Throws Error when
// FMS_ACCEL_ISA names an unknown or unavailable instruction set.
const Kernels& cpu_kernels();
const char* cpu_isa();
std::vector<std::string> available_isas();  // best first

}  // namespace fms_accel
