#include "ops/grouped_linear.h"

#include "cuda/groups.h"
#include "engine/error.h"
#include "ops/copy.h"
#include "ops/iteration.h"

namespace fms_accel::ops {
namespace {

bool is_on_device(const Tensor& x) { return x.device().type == 2; }

void check_rows(const Tensor& x) {
  check(x.ndim == 2 && is_floating(x.dtype),
        "groupedLinear: expected floating rows [T, in], found ", name_of(x.dtype), " ",
        shape_of(x));
}

// Offsets of the groups of `rows` rows, where `x` lies.
Tensor offsets_of(const Tensor& x, const GroupSizes& sizes) {
  if (sizes.offsets != nullptr) {
    const Tensor& offsets = *sizes.offsets;
    check(offsets.dtype == DType::kInt64 && offsets.ndim == 1 && offsets.shape[0] > 0,
          "groupedLinear: expected int64 offsets [groups + 1], found ", name_of(offsets.dtype), " ",
          shape_of(offsets));
    check_same_device("groupedLinear", {&x, &offsets});
    if (is_on_device(x)) return contiguous(offsets);
  }
  const int64_t groups = sizes.offsets != nullptr ? sizes.offsets->shape[0] - 1
                                                  : static_cast<int64_t>(sizes.counts.size());
  const Tensor offsets = empty({groups + 1}, DType::kInt64);
  int64_t* const values = offsets.data<int64_t>();
  values[0] = 0;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t count =
        sizes.offsets != nullptr
            ? sizes.offsets->data<int64_t>()[(g + 1) * sizes.offsets->strides[0]] -
                  sizes.offsets->data<int64_t>()[g * sizes.offsets->strides[0]]
            : sizes.counts[g];
    check(count >= 0, "groupedLinear: a group of ", count, " rows");
    values[g + 1] = values[g] + count;
  }
  check(values[groups] == x.shape[0], "groupedLinear: groups of ", values[groups],
        " rows in all for x ", shape_of(x));
  return is_on_device(x) ? to_device(offsets, x.device()) : offsets;
}

const void* element(const Tensor& x, int64_t offset) {
  return static_cast<const char*>(x.raw()) + offset * static_cast<int64_t>(item_size(x.dtype));
}

MatmulOperand matrix_of(const Tensor& x) {
  return {x.raw(), x.dtype, x.stride(-2), x.stride(-1), 0};
}

MatmulOperand transposed(MatmulOperand operand) {
  std::swap(operand.row_stride, operand.column_stride);
  return operand;
}

// From row (or column, of a transposed one) `row` on.
MatmulOperand moved(MatmulOperand operand, int64_t stride, int64_t row) {
  operand.data = static_cast<const char*>(operand.data) +
                 row * stride * static_cast<int64_t>(item_size(operand.dtype));
  return operand;
}

void run(const Tensor& x, const GroupedMatmul& grouped) {
  const GemmKernels& gemm = *kernels_of(x).gemm;
  if (is_on_device(x)) return cuda::matmul_groups(grouped);
  std::vector<MatmulArguments> products;
  for (int64_t i = 0; i < grouped.count; ++i) {
    const GroupedMatmul::Group& group = grouped.groups[i];
    const int64_t begin = grouped.offsets[group.number],
                  rows = grouped.offsets[group.number + 1] - begin;
    MatmulArguments p = grouped.common;
    if (grouped.sums_rows) {
      p.a = moved(p.a, p.a.column_stride, begin);
      p.b = moved(p.b, p.b.row_stride, begin);
      p.c = const_cast<void*>(group.matrix);
      p.k = rows;
    } else {
      p.a = moved(p.a, p.a.row_stride, begin);
      p.b.data = group.matrix;
      p.c = static_cast<char*>(p.c) +
            begin * p.c_row_stride * static_cast<int64_t>(item_size(p.c_dtype));
      p.m = rows;
    }
    if (p.m > 0) products.push_back(p);
  }
  gemm.matmul_each(products.data(), static_cast<int64_t>(products.size()));
}

}  // namespace

Tensor grouped_linear(const Tensor& x, const std::vector<Tensor>& weights, const GroupSizes& sizes,
                      bool multiplies_transposed, const MatmulOptions& options) {
  check_rows(x);
  const Tensor offsets = offsets_of(x, sizes);
  const int64_t groups = offsets.shape[0] - 1;
  check(!weights.empty(), "groupedLinear: no weights");
  const bool is_stacked = weights.size() == 1 && weights[0].ndim == 3;
  check(is_stacked ? weights[0].shape[0] == groups : static_cast<int64_t>(weights.size()) == groups,
        "groupedLinear: ", groups, " groups, but weights of ",
        is_stacked ? weights[0].shape[0] : static_cast<int64_t>(weights.size()));
  const Tensor& first = weights[0];
  const int64_t out = first.size(-2), in = first.size(-1);
  // Matrices that are stored alike are multiplied by one call.
  bool is_alike = true;
  for (const Tensor& weight : weights) {
    check(weight.ndim == (is_stacked ? 3 : 2) && weight.size(-2) == out && weight.size(-1) == in &&
              is_floating(weight.dtype),
          "groupedLinear: expected floating weights of one shape, found ", name_of(weight.dtype),
          " ", shape_of(weight), " beside ", shape_of(first));
    check_same_device("groupedLinear", {&x, &weight});
    is_alike = is_alike && weight.dtype == first.dtype && weight.stride(-2) == first.stride(-2) &&
               weight.stride(-1) == first.stride(-1);
  }
  const int64_t k = multiplies_transposed ? out : in, n = multiplies_transposed ? in : out;
  check(x.shape[1] == k, "groupedLinear: x ", shape_of(x), " does not fit weights ",
        shape_of(first));
  const Tensor result = empty({x.shape[0], n}, options.dtype, x.device());
  if (result.numel() == 0) return result;
  std::vector<Tensor> stored = weights;
  if (!is_alike) {
    for (Tensor& weight : stored) weight = contiguous(weight);
  }
  std::vector<GroupedMatmul::Group> each;
  for (int64_t g = 0; g < groups; ++g) {
    each.push_back(
        {g, is_stacked ? element(stored[0], g * stored[0].strides[0]) : stored[g].raw()});
  }
  GroupedMatmul grouped;
  MatmulArguments& common = grouped.common;
  common.m = x.shape[0], common.n = n, common.k = k;
  common.a = matrix_of(x);
  common.b = multiplies_transposed ? matrix_of(stored[0]) : transposed(matrix_of(stored[0]));
  common.c = result.raw();
  common.c_row_stride = n;
  common.c_dtype = options.dtype;
  common.compute = options.compute;
  grouped.offsets = offsets.data<int64_t>();
  grouped.groups = each.data();
  grouped.count = groups;
  run(x, grouped);
  return result;
}

std::vector<Tensor> grouped_weight_gradients(const Tensor& gradient, const Tensor& x,
                                             const GroupSizes& sizes, bool is_stacked,
                                             const Shape& wanted, const MatmulOptions& options) {
  check_rows(gradient);
  check_rows(x);
  check_same_device("groupedLinear", {&gradient, &x});
  check(gradient.shape[0] == x.shape[0], "groupedLinear: a gradient ", shape_of(gradient),
        " for x ", shape_of(x));
  const Tensor offsets = offsets_of(x, sizes);
  const int64_t groups = offsets.shape[0] - 1, out = gradient.shape[1], in = x.shape[1];
  std::vector<Tensor> results;
  std::vector<GroupedMatmul::Group> each;
  if (is_stacked) {
    results.push_back(empty({groups, out, in}, options.dtype, x.device()));
    for (int64_t g = 0; g < groups; ++g) each.push_back({g, element(results[0], g * out * in)});
  } else {
    for (const int64_t g : wanted) {
      check(g >= 0 && g < groups, "groupedLinear: no group ", g);
      results.push_back(empty({out, in}, options.dtype, x.device()));
      each.push_back({g, results.back().raw()});
    }
  }
  if (out * in == 0 || each.empty()) return results;
  GroupedMatmul grouped;
  MatmulArguments& common = grouped.common;
  common.m = out, common.n = in, common.k = x.shape[0];
  common.a = transposed(matrix_of(gradient));
  common.b = matrix_of(x);
  common.c_row_stride = in;
  common.c_dtype = options.dtype;
  common.compute = options.compute;
  grouped.offsets = offsets.data<int64_t>();
  grouped.groups = each.data();
  grouped.count = static_cast<int64_t>(each.size());
  grouped.sums_rows = true;
  run(x, grouped);
  return results;
}

}  // namespace fms_accel::ops
