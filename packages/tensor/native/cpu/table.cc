#include "cpu/kernel_sources.h"

namespace fms_accel::FMS_ACCEL_ISA {

extern const Kernels kKernels;
const Kernels kKernels = {
    .unary = unary,
    .binary = binary,
    .where = where,
    .reduce = reduce,
    .argmax = argmax,
    .logsumexp = logsumexp,
    .cumsum = cumsum,
};

}  // namespace fms_accel::FMS_ACCEL_ISA
