// B packed once (GemmKernels::prepack).
#pragma once
#include "cpu/gemm_plan.h"

namespace fms_accel::FMS_ACCEL_ISA {

// Lanes of all panels of n columns.
FMS_ACCEL_INLINE int64_t padded_columns(int64_t n) { return divide_up(n, kLanes) * kLanes; }

size_t prepacked_bytes(Compute compute, int64_t n, int64_t k);
void prepack(Compute compute, int64_t n, int64_t k, const GemmSource& b, void* to);

// Throws Error for a buffer that was packed for another shape, compute type or instruction set.
void check_prepacked(const void* packed, Compute compute, int64_t n, int64_t k);
// The panels: block of k by block of k, in each one panel after the other.
const uint32_t* prepacked_panels(const void* packed);

}  // namespace fms_accel::FMS_ACCEL_ISA
