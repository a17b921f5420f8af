#pragma once
#include "engine/tensor.h"

namespace fms_accel::ops {

// Every index tensor has an integer dtype. Throws Error for an index outside of the dimension that
// it points into, with its position.

// Rows of weight [rows, ...] for ids of any shape: ids.shape + weight.shape[1:].
Tensor embedding(const Tensor& ids, const Tensor& weight);
// Its gradient, [rows, ...] as `dtype`: rows of `gradient` added up by id. `padding_index` (or -1)
// gets none.
Tensor embedding_gradient(const Tensor& gradient, const Tensor& ids, int64_t rows,
                          int64_t padding_index, DType dtype);

// x with dimension `dim` replaced by the elements that index [n] names.
Tensor index_select(const Tensor& x, int64_t dim, const Tensor& index);
// x + source, where position j of source along `dim` is added at index[j]. Same dtypes.
Tensor index_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source);

// Rows of source [n, ...], each times its float32 weight where there are `weights` [n] and then
// rounded to `dtype`, added up at index [n]: [rows, ...]. The sum is rounded once.
Tensor add_weighted_rows(const Tensor& source, const Tensor* weights, const Tensor& index,
                         int64_t rows, DType dtype);
struct WeightedRowsGradients {
  Tensor source, weights;  // without storage where they were not asked for
};
// `gradient` is that of the result.
WeightedRowsGradients weighted_rows_gradients(const Tensor& gradient, const Tensor& source,
                                              const Tensor& weights, const Tensor& index,
                                              bool of_source, bool of_weights);

// result[i][j][k] = x[i][index[i][j][k]][k] for dim = 1. index has x's number of dimensions, and no
// larger sizes outside of `dim`.
Tensor gather(const Tensor& x, int64_t dim, const Tensor& index);
// x with result[i][index[i][j][k]][k] += source[i][j][k] for dim = 1. index and source have the
// same shape; same dtypes.
Tensor scatter_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source);

// The positions of group [N] in the order of their groups, int64 [N], and where those of each group
// begin, int64 [groups + 1].
struct RowGroups {
  Tensor order, offsets;
};
RowGroups group_rows(const Tensor& group, int64_t groups);

// int64 positions of the first `count` elements along `dim` in order (stable; NaN counts as
// largest).
Tensor order(const char* op, const Tensor& x, int64_t dim, int64_t count, bool descending);

}  // namespace fms_accel::ops
