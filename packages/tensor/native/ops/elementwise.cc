#include "ops/elementwise.h"

#include "engine/error.h"
#include "ops/iteration.h"

namespace fms_accel::ops {
namespace {

bool keeps_integers(UnaryOp op) {
  switch (op) {
    case UnaryOp::kCopy:
    case UnaryOp::kNegate:
    case UnaryOp::kAbsolute:
    case UnaryOp::kSquare:
    case UnaryOp::kAffine:
    case UnaryOp::kClamp:
      return true;
    default:
      return false;
  }
}

DType result_dtype(BinaryOp op, DType x, DType y) {
  if (op >= BinaryOp::kEqual && op <= BinaryOp::kLogicalOr) return DType::kBool;
  if (op >= BinaryOp::kSigmoidGradient) return y;
  const DType promoted = promote(x, y);
  return op == BinaryOp::kDivide && !is_floating(promoted) ? DType::kFloat32 : promoted;
}

}  // namespace

DType promote(DType a, DType b) {
  if (a == b) return a;
  if (is_floating(a) && is_floating(b)) return DType::kFloat32;
  if (is_floating(a)) return a;
  if (is_floating(b)) return b;
  const auto rank = [](DType t) {
    return t == DType::kInt64 ? 3 : t == DType::kInt32 ? 2 : t == DType::kUint8 ? 1 : 0;
  };
  return rank(a) > rank(b) ? a : b;
}

Tensor unary(UnaryOp op, double a, double b, const Tensor& x) {
  check(op >= UnaryOp::kCopy && op <= UnaryOp::kClamp, "unary: unknown operation ",
        static_cast<int>(op));
  DType dtype = x.dtype;
  if (op == UnaryOp::kLogicalNot) {
    dtype = DType::kBool;
  } else if (!is_floating(dtype)) {
    const bool whole =
        op != UnaryOp::kAffine || (a == static_cast<int64_t>(a) && b == static_cast<int64_t>(b));
    if (!keeps_integers(op) || !whole) dtype = DType::kFloat32;
  }
  Tensor result = empty(x.sizes(), dtype, x.device());
  const Iteration it = iterate(x.sizes(), {&result, &x});
  if (it.loop.numel > 0) {
    kernels_of(x).unary(op, static_cast<float>(a), static_cast<float>(b), it.loop, it.operands[0],
                        it.operands[1]);
  }
  return result;
}

Tensor binary(BinaryOp op, const Tensor& x, const Tensor& y) {
  check(op >= BinaryOp::kAdd && op <= BinaryOp::kGeluTanhGradient, "binary: unknown operation ",
        static_cast<int>(op));
  check_same_device("binary", {&x, &y});
  const Shape shape = broadcast_shape("elementwise operation", {&x, &y});
  Tensor result = empty(shape, result_dtype(op, x.dtype, y.dtype), x.device());
  const Iteration it = iterate(shape, {&result, &x, &y});
  if (it.loop.numel > 0)
    kernels_of(x).binary(op, it.loop, it.operands[0], it.operands[1], it.operands[2]);
  return result;
}

Tensor where(const Tensor& condition, const Tensor& x, const Tensor& y) {
  check_same_device("where", {&condition, &x, &y});
  const Shape shape = broadcast_shape("where", {&condition, &x, &y});
  Tensor result = empty(shape, promote(x.dtype, y.dtype), x.device());
  const Iteration it = iterate(shape, {&result, &condition, &x, &y});
  if (it.loop.numel > 0) {
    kernels_of(x).where(it.loop, it.operands[0], it.operands[1], it.operands[2], it.operands[3]);
  }
  return result;
}

void add_into(const Tensor& target, const Tensor& source) {
  check_writable("accumulate", target);
  check_same_device("accumulate", {&target, &source});
  const Shape shape = target.sizes();
  check(broadcast_shape("accumulate", {&target, &source}) == shape, "accumulate: shape ",
        shape_of(source), " does not broadcast to ", shape_of(target));
  const Iteration it = iterate(shape, {&target, &target, &source});
  if (it.loop.numel > 0) {
    kernels_of(target).binary(BinaryOp::kAdd, it.loop, it.operands[0], it.operands[1],
                              it.operands[2]);
  }
}

}  // namespace fms_accel::ops
