#pragma once
#include <vector>

#include "ops/matmul.h"

namespace fms_accel::ops {

// The rows of x [T, features] in the order of their groups, counts[g] of group g. Of `options` the
// dtypes count only.

// Each row times the matrix of its group: wᵀ of weights [out, in], or w itself with
// `multiplies_transposed`, as the gradient of x needs it. `weights` is one tensor [groups, out, in]
// or one [out, in] for each group, of any strides. [T, out], or [T, in].
Tensor grouped_linear(const Tensor& x, const std::vector<Tensor>& weights, const Shape& counts,
                      bool multiplies_transposed, const MatmulOptions& options);

// gradientᵀ · x of each group, 0 where it has no rows: one tensor [groups, out, in] with
// `is_stacked`, else one [out, in] for each group whose number is in `wanted`.
std::vector<Tensor> grouped_weight_gradients(const Tensor& gradient, const Tensor& x,
                                             const Shape& counts, bool is_stacked,
                                             const Shape& wanted, const MatmulOptions& options);

}  // namespace fms_accel::ops
