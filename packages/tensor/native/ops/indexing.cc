#include "ops/indexing.h"

#include <algorithm>

#include "cuda/device.h"
#include "cuda/groups.h"
#include "engine/error.h"
#include "ops/copy.h"
#include "ops/elementwise.h"
#include "ops/iteration.h"

namespace fms_accel::ops {
namespace {

// The index as contiguous int64, every value in [0, size). A device reports a wrong one when its
// work is waited for.
Tensor checked_index(const char* op, const Tensor& index, int64_t size) {
  check(!is_floating(index.dtype) && index.dtype != DType::kBool, op,
        ": expected an integer index, found ", name_of(index.dtype));
  const Tensor wide = index.dtype == DType::kInt64 ? contiguous(index) : cast(index, DType::kInt64);
  const int64_t count = wide.numel();
  if (wide.device().type == 2) {
    const Tensor checked = empty_like(wide);
    cuda::check_indices(wide.device().index, wide.data<int64_t>(), count, checked.data<int64_t>(),
                        {op, wide.sizes(), size});
    return checked;
  }
  const int64_t* values = wide.data<int64_t>();
  for (int64_t i = 0; i < count; ++i) {
    if (values[i] >= 0 && values[i] < size) continue;
    Shape position(index.ndim);
    int64_t rest = i;
    for (int d = index.ndim - 1; d >= 0; --d) {
      position[d] = rest % index.shape[d];
      rest /= index.shape[d];
    }
    fail(op, ": index ", values[i], " at ", to_string(position), " is out of range for size ",
         size);
  }
  return wide;
}

Tensor scalar(int64_t value) {
  const Tensor result = empty({}, DType::kInt64);
  *result.data<int64_t>() = value;
  return result;
}

int64_t product(const Tensor& x, int begin, int end) {
  int64_t result = 1;
  for (int d = begin; d < end; ++d) result *= x.shape[d];
  return result;
}

// Lines along `dim`, one for each position of `index` in the other dimensions.
IndexedLines lines_of(const Tensor& index, int dim, const Tensor& out, const Tensor& x) {
  Tensor index_rest = without(index, dim), out_rest = without(out, dim), x_rest = without(x, dim);
  out_rest.shape = x_rest.shape = index_rest.shape;  // a source may be larger than the index
  const Iteration it = iterate(index_rest.sizes(), {&out_rest, &x_rest, &index_rest});
  IndexedLines lines;
  lines.lines = it.loop;
  lines.length = index.shape[dim];
  lines.out = {it.operands[0], out.strides[dim]};
  lines.x = {it.operands[1], x.strides[dim]};
  lines.index_lines = it.operands[2];
  lines.index = index.data<int64_t>();
  lines.index_stride = index.strides[dim];
  return lines;
}

void add_rows(const Tensor& target, int dim, const int64_t* index, int64_t count,
              const Tensor& source) {
  IndexedRows rows;
  rows.source = source.raw();
  rows.target = target.raw();
  rows.dtype = target.dtype;
  rows.outer = product(target, 0, dim);
  rows.inner = product(target, dim + 1, target.ndim);
  rows.source_rows = rows.count = count;
  rows.target_rows = target.shape[dim];
  rows.index = index;
  if (rows.outer * rows.inner * count > 0) kernels_of(target).index_add(rows);
}

}  // namespace

Tensor index_select(const Tensor& x, int64_t dim, const Tensor& index) {
  const int at = dimension("indexSelect", dim, x.ndim);
  check(index.ndim == 1, "indexSelect: expected an index of one dimension, found ",
        shape_of(index));
  check_same_device("indexSelect", {&x, &index});
  const Tensor checked = checked_index("indexSelect", index, x.shape[at]);
  Shape shape = x.sizes();
  shape[at] = index.shape[0];
  const Tensor result = empty(shape, x.dtype, x.device());
  if (result.numel() == 0) return result;
  const Tensor source = contiguous(x);
  IndexedRows rows;
  rows.source = source.raw();
  rows.target = result.raw();
  rows.dtype = x.dtype;
  rows.outer = product(x, 0, at);
  rows.inner = product(x, at + 1, x.ndim);
  rows.source_rows = x.shape[at];
  rows.target_rows = rows.count = index.shape[0];
  rows.index = checked.data<int64_t>();
  kernels_of(x).index_select(rows);
  return result;
}

Tensor embedding(const Tensor& ids, const Tensor& weight) {
  check(weight.ndim >= 1, "embedding: expected a weight of at least one dimension");
  check_same_device("embedding", {&ids, &weight});
  Tensor flat = checked_index("embedding", ids, weight.shape[0]);
  flat.ndim = 1;
  flat.shape[0] = ids.numel();
  flat.strides[0] = 1;
  Tensor result = index_select(weight, 0, flat);
  Shape shape = ids.sizes();
  shape.insert(shape.end(), weight.shape.begin() + 1, weight.shape.begin() + weight.ndim);
  check(shape.size() <= kMaxDims, "embedding: the result would have ", shape.size(), " dimensions");
  int64_t stride = 1;
  result.ndim = static_cast<int>(shape.size());
  for (int d = result.ndim - 1; d >= 0; --d) {
    result.shape[d] = shape[d];
    result.strides[d] = stride;
    stride *= std::max<int64_t>(shape[d], 1);
  }
  return result;
}

Tensor embedding_gradient(const Tensor& gradient, const Tensor& ids, int64_t rows,
                          int64_t padding_index, DType dtype) {
  check_same_device("embedding", {&gradient, &ids});
  const Tensor checked = checked_index("embedding", ids, rows);
  check(gradient.ndim >= ids.ndim, "embedding: gradient of shape ", shape_of(gradient), " for ids ",
        shape_of(ids));
  Shape shape(gradient.shape.begin() + ids.ndim, gradient.shape.begin() + gradient.ndim);
  shape.insert(shape.begin(), rows);
  const Tensor result = empty(shape, dtype, gradient.device());
  fill(result, 0);
  // Rows of the padding index are skipped.
  const Tensor padding = to_device(scalar(padding_index), ids.device());
  const Tensor skipped = to_device(scalar(-1), ids.device());
  const Tensor index = where(binary(BinaryOp::kEqual, checked, padding), skipped, checked);
  const Tensor source = contiguous(gradient.dtype == dtype ? gradient : cast(gradient, dtype));
  add_rows(result, 0, index.data<int64_t>(), ids.numel(), source);
  return result;
}

Tensor index_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source) {
  const int at = dimension("indexAdd", dim, x.ndim);
  check(index.ndim == 1, "indexAdd: expected an index of one dimension, found ", shape_of(index));
  check_same_device("indexAdd", {&x, &index, &source});
  check(x.dtype == source.dtype, "indexAdd: ", name_of(source.dtype), " cannot be added to ",
        name_of(x.dtype));
  Shape expected = x.sizes();
  expected[at] = index.shape[0];
  check(source.sizes() == expected, "indexAdd: expected a source of shape ", to_string(expected),
        ", found ", shape_of(source));
  const Tensor checked = checked_index("indexAdd", index, x.shape[at]);
  const Tensor result = cast(x, x.dtype);
  add_rows(result, at, checked.data<int64_t>(), index.shape[0], contiguous(source));
  return result;
}

namespace {

constexpr const char* kAddWeightedRows = "addWeightedRows";

FlatTensor flat(const Tensor& tensor) { return {tensor.raw(), tensor.dtype, tensor.numel()}; }

// Of contiguous tensors; `target` is the result, or its gradient.
WeightedRows weighted_rows(const Tensor& source, const Tensor* weights, const Tensor& index,
                           const Tensor& target) {
  Shape expected = source.sizes();
  expected[0] = target.shape[0];
  check(is_floating(source.dtype) && is_floating(target.dtype) && target.sizes() == expected,
        kAddWeightedRows, ": expected floating rows of one shape, found ", name_of(source.dtype),
        " ", shape_of(source), " and ", name_of(target.dtype), " ", shape_of(target));
  check(index.ndim == 1 && index.shape[0] == source.shape[0], kAddWeightedRows,
        ": expected an index for each row of ", shape_of(source), ", found ", shape_of(index));
  check_same_device(kAddWeightedRows, {&source, &index, &target});
  WeightedRows rows;
  if (weights != nullptr) {
    check_same_device(kAddWeightedRows, {&source, weights});
    check(weights->dtype == DType::kFloat32 && weights->sizes() == index.sizes(), kAddWeightedRows,
          ": expected float32 weights ", shape_of(index), ", found ", name_of(weights->dtype), " ",
          shape_of(*weights));
    rows.weights = weights->data<float>();
  }
  rows.count = source.shape[0];
  rows.rows = target.shape[0];
  rows.inner = product(source, 1, source.ndim);
  rows.index = index.data<int64_t>();
  rows.source = flat(source);
  rows.target = flat(target);
  return rows;
}

}  // namespace

Tensor add_weighted_rows(const Tensor& source, const Tensor* weights, const Tensor& index,
                         int64_t rows, DType dtype) {
  check(source.ndim >= 1, kAddWeightedRows, ": expected rows, found a scalar");
  const auto kernel = kernels_of(source).add_weighted_rows;
  check(kernel != nullptr, kAddWeightedRows, ": this device has no kernel for it");
  Shape shape = source.sizes();
  shape[0] = rows;
  const Tensor result = empty(shape, dtype, source.device());
  const Tensor checked = checked_index(kAddWeightedRows, index, rows), x = contiguous(source);
  const Tensor dense = weights == nullptr ? Tensor() : contiguous(*weights);
  const WeightedRows arguments =
      weighted_rows(x, weights == nullptr ? nullptr : &dense, checked, result);
  if (result.numel() > 0) kernel(arguments);
  return result;
}

WeightedRowsGradients weighted_rows_gradients(const Tensor& gradient, const Tensor& source,
                                              const Tensor& weights, const Tensor& index,
                                              bool of_source, bool of_weights) {
  check(gradient.ndim == source.ndim && source.ndim >= 1, kAddWeightedRows, ": a gradient ",
        shape_of(gradient), " for rows ", shape_of(source));
  const auto kernel = kernels_of(source).weighted_rows_gradient;
  check(kernel != nullptr, kAddWeightedRows, ": this device has no kernel for it");
  const Tensor checked = checked_index(kAddWeightedRows, index, gradient.shape[0]);
  const Tensor g = contiguous(gradient), x = contiguous(source), w = contiguous(weights);
  WeightedRows arguments = weighted_rows(x, &w, checked, g);
  WeightedRowsGradients results;
  if (of_source) {
    results.source = empty(source.sizes(), source.dtype, source.device());
    arguments.source_gradient = flat(results.source);
  }
  if (of_weights) {
    results.weights = empty(weights.sizes(), DType::kFloat32, source.device());
    arguments.weights_gradient = results.weights.data<float>();
  }
  if (source.numel() > 0) {
    kernel(arguments);
  } else if (of_weights) {
    fill(results.weights, 0);
  }
  return results;
}

namespace {

void check_index_shape(const char* op, const Tensor& x, int dim, const Tensor& index) {
  bool fits = index.ndim == x.ndim;
  for (int d = 0; fits && d < x.ndim; ++d) fits = d == dim || index.shape[d] <= x.shape[d];
  check(fits, op, ": an index of shape ", shape_of(index), " does not fit ", shape_of(x),
        " outside of dimension ", dim);
}

}  // namespace

Tensor gather(const Tensor& x, int64_t dim, const Tensor& index) {
  const int at = dimension("gather", dim, x.ndim);
  check_same_device("gather", {&x, &index});
  check_index_shape("gather", x, at, index);
  const Tensor checked = checked_index("gather", index, x.shape[at]);
  const Tensor result = empty(index.sizes(), x.dtype, x.device());
  if (result.numel() > 0) kernels_of(x).gather(lines_of(checked, at, result, x));
  return result;
}

Tensor scatter_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source) {
  const int at = dimension("scatterAdd", dim, x.ndim);
  check_same_device("scatterAdd", {&x, &index, &source});
  check(x.dtype == source.dtype, "scatterAdd: ", name_of(source.dtype), " cannot be added to ",
        name_of(x.dtype));
  check_index_shape("scatterAdd", x, at, index);
  check(index.sizes() == source.sizes(), "scatterAdd: index ", shape_of(index), " and source ",
        shape_of(source), " must have the same shape");
  const Tensor checked = checked_index("scatterAdd", index, x.shape[at]);
  const Tensor result = cast(x, x.dtype);
  if (index.numel() > 0) kernels_of(x).scatter_add(lines_of(checked, at, result, source));
  return result;
}

RowGroups group_rows(const Tensor& group, int64_t groups) {
  check(group.ndim == 1, "groupRows: expected a group for each row, [rows], found ",
        shape_of(group));
  check(groups >= 0, "groupRows: ", groups, " groups");
  const Tensor checked = checked_index("groupRows", group, groups);
  const RowGroups result = {empty(checked.sizes(), DType::kInt64, group.device()),
                            empty({groups + 1}, DType::kInt64, group.device())};
  const int64_t *const of_row = checked.data<int64_t>(), rows = checked.numel();
  int64_t *const order = result.order.data<int64_t>(), *const offsets =
                                                           result.offsets.data<int64_t>();
  kernels_of(group);  // makes its device current
  if (group.device().type == 2) {
    cuda::group_rows(of_row, rows, groups, order, offsets);
    return result;
  }
  std::fill_n(offsets, groups + 1, 0);
  for (int64_t row = 0; row < rows; ++row) ++offsets[of_row[row] + 1];
  for (int64_t g = 0; g < groups; ++g) offsets[g + 1] += offsets[g];
  std::vector<int64_t> next(offsets, offsets + groups);
  for (int64_t row = 0; row < rows; ++row) order[next[of_row[row]]++] = row;
  return result;
}

Tensor order(const char* op, const Tensor& x, int64_t dim, int64_t count, bool descending) {
  const int at = dimension(op, dim, x.ndim);
  check(count >= 0 && count <= x.shape[at], op, ": ", count, " elements of dimension ", dim, " in ",
        shape_of(x));
  Shape shape = x.sizes();
  shape[at] = count;
  const Tensor result = empty(shape, DType::kInt64, x.device());
  if (result.numel() == 0) return result;
  const Tensor out_rest = without(result, at), x_rest = without(x, at);
  const Iteration it = iterate(x_rest.sizes(), {&out_rest, &x_rest});
  Reduction r;
  r.kept = it.loop;
  r.out = it.operands[0];
  r.x = it.operands[1];
  r.reduced.ndim = 1;
  r.reduced.shape[0] = r.reduced.numel = x.shape[at];
  r.reduced_strides[0] = x.strides[at];
  kernels_of(x).order(r, count, descending, result.strides[at]);
  return result;
}

}  // namespace fms_accel::ops
