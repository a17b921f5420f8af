#include "cpu/kernel_sources.h"

namespace fms_accel::FMS_ACCEL_ISA {

extern const Kernels kKernels;
const Kernels kKernels = {
    .gemm = &kGemmKernels,
    .few_rows = few_rows,
    .rms_norm = rms_norm,
    .rms_norm_gradient = rms_norm_gradient,
    .rotary = rotary,
    .swiglu = swiglu,
    .swiglu_gradient = swiglu_gradient,
    .attention_forward = attention_forward,
    .attention_backward = attention_backward,
    .unary = unary,
    .binary = binary,
    .where = where,
    .reduce = reduce,
    .argmax = argmax,
    .logsumexp = logsumexp,
    .cumsum = cumsum,
    .softmax = softmax,
    .softmax_gradient = softmax_gradient,
    .gather = gather,
    .scatter_add = scatter_add,
    .index_select = index_select,
    .index_add = index_add,
    .add_weighted_rows = add_weighted_rows,
    .weighted_rows_gradient = weighted_rows_gradient,
    .order = order,
    .uniform = uniform,
    .normal = normal,
    .dropout = dropout,
    .sum_of_squares = sum_of_squares,
    .scale = scale,
    .clip = clip,
    .adamw = adamw,
    .cross_entropy = cross_entropy,
    .cross_entropy_gradient = cross_entropy_gradient,
    .cross_entropy_in_place = cross_entropy_in_place,
};

}  // namespace fms_accel::FMS_ACCEL_ISA
