// From dense matrices to panels (cpu/gemm.h).
#pragma once
#include "cpu/gemm_simd.h"

namespace fms_accel::FMS_ACCEL_ISA {

// 32-bit words of a panel for each of its lanes.
FMS_ACCEL_INLINE int64_t step_count(Compute compute, int64_t kc) {
  int64_t steps = kc;
  with_step(compute, [&](auto step) { steps = divide_up(kc, decltype(step)::kValues); });
  return steps;
}

// GemmKernels::pack_dense.
void pack_dense(Compute compute, const DenseOperand& dense, const GemmPanels& panels);

// Any source but a prepacked one.
inline void pack_source(Compute compute, const GemmSource& source, int64_t k,
                        const GemmPanels& panels) {
  const int64_t dense_k = k - source.tail_k;
  if (source.pack != nullptr) return source.pack(source.context, panels);
  if (panels.k0 + panels.kc <= dense_k) return pack_dense(compute, source.dense, panels);
  GemmPanels part = panels;
  part.panel_steps = step_count(compute, panels.kc);
  part.kc = max_of(0, dense_k - panels.k0);
  if (part.kc > 0) pack_dense(compute, source.dense, part);
  part.first_step = step_count(compute, part.kc);
  part.k0 = max_of(0, panels.k0 - dense_k);
  part.kc = panels.kc - part.kc;
  pack_dense(compute, source.tail, part);
}

// Asks for the part-th of `parts` parts of what pack_dense would read for these lanes and k, into
// the second-level cache. Does nothing for strided or gathered operands.
void prefetch_dense(const DenseOperand& dense, int64_t first, int64_t count, int64_t k0, int64_t kc,
                    int64_t part, int64_t parts);

}  // namespace fms_accel::FMS_ACCEL_ISA
