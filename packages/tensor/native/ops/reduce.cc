#include "ops/reduce.h"

#include <limits>

#include "engine/error.h"
#include "ops/copy.h"
#include "ops/iteration.h"

namespace fms_accel::ops {
namespace {

// x seen as kept dimensions times reduced ones, and the shape of a result.
struct Plan {
  Tensor kept, reduced;  // views of x: what is left when the other dimensions are dropped
  Shape shape;           // of the result
};

Plan plan(const char* op, const Tensor& x, const Shape& dims, bool keepdim) {
  bool is_reduced[kMaxDims] = {};
  for (const int64_t dim : dims) {
    const int d = dimension(op, dim, x.ndim);
    check(!is_reduced[d], op, ": dimension ", d, " stands twice in ", to_string(dims));
    is_reduced[d] = true;
  }
  Plan result{x, x, {}};
  result.kept.ndim = result.reduced.ndim = 0;
  for (int d = 0; d < x.ndim; ++d) {
    Tensor& part = is_reduced[d] ? result.reduced : result.kept;
    part.shape[part.ndim] = x.shape[d];
    part.strides[part.ndim++] = x.strides[d];
    if (!is_reduced[d]) {
      result.shape.push_back(x.shape[d]);
    } else if (keepdim) {
      result.shape.push_back(1);
    }
  }
  return result;
}

// `out` has the sizes of plan.kept, apart from sizes of 1.
Reduction reduction(const Plan& plan, const Tensor& out) {
  Tensor target = out;
  target.ndim = 0;
  for (int d = 0; d < out.ndim; ++d) {
    if (out.shape[d] == 1) continue;
    target.shape[target.ndim] = out.shape[d];
    target.strides[target.ndim++] = out.strides[d];
  }
  Tensor source = plan.kept;
  source.ndim = 0;
  for (int d = 0; d < plan.kept.ndim; ++d) {
    if (plan.kept.shape[d] == 1) continue;
    source.shape[source.ndim] = plan.kept.shape[d];
    source.strides[source.ndim++] = plan.kept.strides[d];
  }
  const Iteration kept = iterate(target.sizes(), {&target, &source});
  const Iteration reduced = iterate(plan.reduced.sizes(), {&plan.reduced});
  Reduction result;
  result.kept = kept.loop;
  result.out = kept.operands[0];
  result.x = kept.operands[1];
  result.reduced = reduced.loop;
  for (int d = 0; d < reduced.loop.ndim; ++d)
    result.reduced_strides[d] = reduced.operands[0].strides[d];
  return result;
}

}  // namespace

Tensor reduce(ReduceOp op, const Tensor& x, const Shape& dims, bool keepdim) {
  constexpr const char* kNames[] = {"sum", "mean", "amax", "amin"};
  check(op >= ReduceOp::kSum && op <= ReduceOp::kMinimum, "reduce: unknown operation ",
        static_cast<int>(op));
  const char* name = kNames[static_cast<int>(op)];
  const Plan parts = plan(name, x, dims, keepdim);
  DType dtype = x.dtype;
  if (!is_floating(dtype) && op == ReduceOp::kSum) dtype = DType::kInt64;
  if (!is_floating(dtype) && op == ReduceOp::kMean) dtype = DType::kFloat32;
  const Tensor result = empty(parts.shape, dtype, x.device());
  if (result.numel() == 0) return result;
  if (parts.reduced.numel() == 0) {
    check(op == ReduceOp::kSum || op == ReduceOp::kMean, name, ": shape ", shape_of(x),
          " has no elements along the dimensions ", to_string(dims));
    fill(result, op == ReduceOp::kSum ? 0 : std::numeric_limits<double>::quiet_NaN());
    return result;
  }
  kernels_of(x).reduce(op, reduction(parts, result));
  return result;
}

Tensor argmax(const Tensor& x, int64_t dim, bool keepdim) {
  const Plan parts = plan("argmax", x, {dim}, keepdim);
  const Tensor result = empty(parts.shape, DType::kInt64, x.device());
  if (result.numel() == 0) return result;
  check(parts.reduced.numel() > 0, "argmax: shape ", shape_of(x),
        " has no elements along dimension ", dim);
  kernels_of(x).argmax(reduction(parts, result));
  return result;
}

Tensor logsumexp(const Tensor& x, const Shape& dims, bool keepdim) {
  check(is_floating(x.dtype), "logsumexp: expected a floating dtype, found ", name_of(x.dtype));
  const Plan parts = plan("logsumexp", x, dims, keepdim);
  const Tensor result = empty(parts.shape, x.dtype, x.device());
  if (result.numel() == 0) return result;
  if (parts.reduced.numel() == 0) {
    fill(result, -std::numeric_limits<double>::infinity());
    return result;
  }
  kernels_of(x).logsumexp(reduction(parts, result));
  return result;
}

Tensor cumsum(const Tensor& x, int64_t dim, bool reverse) {
  const Plan parts = plan("cumsum", x, {dim}, false);
  const Tensor result =
      empty(x.sizes(), is_floating(x.dtype) ? x.dtype : DType::kInt64, x.device());
  if (result.numel() == 0) return result;
  const int at = dimension("cumsum", dim, x.ndim);
  const Plan target = plan("cumsum", result, {dim}, false);
  Reduction r = reduction(parts, target.kept);
  r.reduced_strides[0] = x.strides[at];
  kernels_of(x).cumsum(r, result.strides[at], reverse);
  return result;
}

}  // namespace fms_accel::ops
