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

// Asks for the part-th of `parts` parts of what pack_dense would read for these lanes and k, into
// the second-level cache. Does nothing for strided or gathered operands.
void prefetch_dense(const DenseOperand& dense, int64_t first, int64_t count, int64_t k0, int64_t kc,
                    int64_t part, int64_t parts);

}  // namespace fms_accel::FMS_ACCEL_ISA
