// From dense matrices to panels (cpu/gemm.h).
#pragma once
#include "cpu/gemm_simd.h"

namespace fms_accel::FMS_ACCEL_ISA {

// GemmKernels::pack_dense.
void pack_dense(Compute compute, const DenseOperand& dense, const GemmPanels& panels);

// Any source but a prepacked one.
FMS_ACCEL_INLINE void pack_source(Compute compute, const GemmSource& source,
                                  const GemmPanels& panels) {
  if (source.pack != nullptr)
    source.pack(source.context, panels);
  else
    pack_dense(compute, source.dense, panels);
}

}  // namespace fms_accel::FMS_ACCEL_ISA
