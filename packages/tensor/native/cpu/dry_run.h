// Kernels that compute nothing, for measuring how much memory a computation would take: launchers
// check and allocate as ever, and memory that nothing writes to is never given pages by the system.
#pragma once
#include "cpu/kernels.h"

namespace fms_accel {

// `real` without its floating computations. Integers are still computed, because shapes and checks
// of indices depend on them; where they would follow from floats (the order of logits) they are
// spread evenly. Kernels that this does not know stay as they are.
const Kernels& dry_kernels(const Kernels& real);

// Whether kernels of this thread are dry, see cpu_kernels(). Memory that is allocated meanwhile is
// not reserved.
bool is_dry_run();
void set_dry_run(bool dry);

}  // namespace fms_accel
