#pragma once
#include <vector>

#include "ops/matmul.h"

namespace fms_accel::ops {

// How the rows of x [T, features] lie in the order of their groups: counts[g] of group g, or from
// offsets[g] on, int64 [groups + 1] where x lies, up to offsets[g + 1]. A device's offsets are
// not looked at: they are those of group_rows(). No memory but the operands' is touched, whatever
// they are.
struct GroupSizes {
  Shape counts;
  const Tensor* offsets = nullptr;
};

// Of `options` the dtypes count only.

// Each row times the matrix of its group: wᵀ of weights [out, in], or w itself with
// `multiplies_transposed`, as the gradient of x needs it. `weights` is one tensor [groups, out, in]
// or one [out, in] for each group, of any strides. [T, out], or [T, in].
Tensor grouped_linear(const Tensor& x, const std::vector<Tensor>& weights, const GroupSizes& sizes,
                      bool multiplies_transposed, const MatmulOptions& options);

// gradientᵀ · x of each group, 0 where it has no rows: one tensor [groups, out, in] with
// `is_stacked`, else one [out, in] for each group whose number is in `wanted`.
std::vector<Tensor> grouped_weight_gradients(const Tensor& gradient, const Tensor& x,
                                             const GroupSizes& sizes, bool is_stacked,
                                             const Shape& wanted, const MatmulOptions& options);

}  // namespace fms_accel::ops
