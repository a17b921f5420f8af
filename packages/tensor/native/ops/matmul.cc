#include "ops/matmul.h"

#include "cpu/few_rows.h"
#include "cpu/matmul.h"
#include "engine/error.h"
#include "engine/read_ahead.h"
#include "ops/iteration.h"

namespace fms_accel::ops {
namespace {

// The leading (batch) dimensions of one operand, broadcast to those of the result.
struct Batch {
  int ndim;
  int64_t shape[kMaxDims];
  int64_t a[kMaxDims], b[kMaxDims], c[kMaxDims];  // strides in elements
};

Shape leading(const Tensor& tensor) {
  return Shape(tensor.shape.begin(), tensor.shape.begin() + tensor.ndim - 2);
}

Tensor leading_view(const Tensor& tensor) {
  Tensor view = tensor;
  view.ndim -= 2;
  return view;
}

// Leading dimensions as one loop; dimensions that all three operands walk evenly are merged.
Batch batch_of(const Tensor& c, const Tensor& a, const Tensor& b) {
  const Tensor views[] = {leading_view(c), leading_view(a), leading_view(b)};
  const Iteration it = iterate(leading(c), {&views[0], &views[1], &views[2]});
  Batch batch{it.loop.ndim, {}, {}, {}, {}};
  for (int d = 0; d < it.loop.ndim; ++d) {
    batch.shape[d] = it.loop.shape[d];
    batch.c[d] = it.operands[0].strides[d];
    batch.a[d] = it.operands[1].strides[d];
    batch.b[d] = it.operands[2].strides[d];
  }
  return batch;
}

void check_operands(const Tensor& a, const Tensor& b, const MatmulOptions& options) {
  check(a.ndim >= 2 && b.ndim >= 2, "matmul: expected at least two dimensions, found ", shape_of(a),
        " and ", shape_of(b));
  check(is_floating(a.dtype) && is_floating(b.dtype), "matmul: expected floating dtypes, found ",
        name_of(a.dtype), " and ", name_of(b.dtype));
  check(is_floating(options.dtype), "matmul: the result must be floating, found ",
        name_of(options.dtype));
  check(a.size(-1) == b.size(-2), "matmul: ", shape_of(a), " times ", shape_of(b), ": ", a.size(-1),
        " columns meet ", b.size(-2), " rows");
  check_same_device("matmul", {&a, &b});
  if (options.bias != nullptr) {
    const Tensor& bias = *options.bias;
    check(bias.ndim == 1 && bias.shape[0] == b.size(-1) && is_floating(bias.dtype) &&
              bias.is_contiguous(),
          "matmul: expected a contiguous bias [", b.size(-1), "], found ", name_of(bias.dtype), " ",
          shape_of(bias));
    check_same_device("matmul", {&a, &bias});
  }
}

void check_tail(const Tensor& a, const Tensor& b, const MatmulOptions& options) {
  const Tensor &left = *options.tail_a, &right = *options.tail_b;
  check(a.ndim == 2 && b.ndim == 2 && left.ndim == 2 && right.ndim == 2 &&
            options.prepacked_b == nullptr,
        "matmul: a low-rank tail goes with plain matrices, found ", shape_of(a), " and ",
        shape_of(b));
  check(is_floating(left.dtype) && is_floating(right.dtype),
        "matmul: expected floating dtypes of the low-rank tail, found ", name_of(left.dtype),
        " and ", name_of(right.dtype));
  check(left.shape[0] == a.shape[0] && right.shape[1] == b.shape[1] &&
            left.shape[1] == right.shape[0],
        "matmul: a low-rank tail ", shape_of(left), " times ", shape_of(right),
        " does not fit a product of ", shape_of(a), " and ", shape_of(b));
  check_same_device("matmul", {&a, &left, &right});
  // A step of the products takes pairs of bfloat16 at most.
  check(a.shape[1] % 2 == 0, "matmul: a low-rank tail needs an even number of columns of ",
        shape_of(a));
}

}  // namespace

void matmul_into(const Tensor& target, const Tensor& a, const Tensor& b, float beta,
                 const MatmulOptions& options) {
  check_operands(a, b, options);
  const bool has_tail = options.tail_a != nullptr && options.tail_b != nullptr;
  if (has_tail) check_tail(a, b, options);
  check_writable("matmul", target);
  check(target.is_contiguous() && target.dtype == options.dtype,
        "matmul: the target must be contiguous ", name_of(options.dtype));
  check_same_device("matmul", {&a, &target});
  const Tensor views[] = {leading_view(a), leading_view(b)};
  Shape expected = broadcast_shape("matmul", {&views[0], &views[1]});
  expected.push_back(a.size(-2));
  expected.push_back(b.size(-1));
  check(target.sizes() == expected, "matmul: target of shape ", shape_of(target),
        " for a result of shape ", to_string(expected));
  if (target.numel() == 0) return;

  MatmulArguments arguments;
  arguments.m = a.size(-2);
  arguments.n = b.size(-1);
  arguments.k = a.size(-1);
  arguments.a = {a.raw(), a.dtype, a.stride(-2), a.stride(-1), 0};
  arguments.b = {b.raw(), b.dtype, b.stride(-2), b.stride(-1), 0};
  if (has_tail) {
    const Tensor &left = *options.tail_a, &right = *options.tail_b;
    arguments.tail_k = left.shape[1];
    arguments.a_tail = {left.raw(), left.dtype, left.strides[0], left.strides[1], 0};
    arguments.b_tail = {right.raw(), right.dtype, right.strides[0], right.strides[1], 0};
  }
  arguments.c = target.raw();
  arguments.c_dtype = target.dtype;
  arguments.c_row_stride = arguments.n;
  arguments.compute = options.compute;
  arguments.alpha = options.alpha;
  arguments.beta = beta;
  if (options.bias != nullptr) {
    arguments.bias = options.bias->raw();
    arguments.bias_dtype = options.bias->dtype;
  }
  if (options.prepacked_b != nullptr) {
    const Tensor& packed = *options.prepacked_b;
    const GemmKernels& gemm = *kernels_of(a).gemm;
    check(b.ndim == 2 && packed.dtype == DType::kUint8 && packed.is_contiguous() &&
              packed.numel() == static_cast<int64_t>(gemm.prepacked_bytes(
                                    options.compute, arguments.n, arguments.k)),
          "matmul: the prepacked matrix was not made for ", shape_of(b));
    arguments.prepacked_b = packed.raw();
  }
  Batch batch = batch_of(target, a, b);
  const GemmKernels& gemm = *kernels_of(a).gemm;
  int last = batch.ndim - 1;
  // One matrix on the right for all: the batch's rows are rows of one product.
  if (batch.b[last] == 0 && batch.shape[last] > 1 &&
      batch.a[last] == arguments.m * arguments.a.row_stride) {
    arguments.m *= batch.shape[last];
    batch.shape[last] = 1;
  }
  arguments.batch = batch.shape[last];
  arguments.a.batch_stride = batch.a[last];
  arguments.b.batch_stride = batch.b[last];
  arguments.c_batch_stride = batch.c[last];
  int64_t outer = 1;
  for (int d = 0; d < last; ++d) outer *= batch.shape[d];
  const auto advance = [](const void* data, DType dtype, int64_t elements) {
    return static_cast<const char*>(data) + elements * static_cast<int64_t>(item_size(dtype));
  };
  for (int64_t i = 0; i < outer; ++i) {
    int64_t rest = i, offset_a = 0, offset_b = 0, offset_c = 0;
    for (int d = last - 1; d >= 0; --d) {
      const int64_t index = rest % batch.shape[d];
      rest /= batch.shape[d];
      offset_a += index * batch.a[d];
      offset_b += index * batch.b[d];
      offset_c += index * batch.c[d];
    }
    MatmulArguments one = arguments;
    one.a.data = advance(arguments.a.data, a.dtype, offset_a);
    one.b.data = advance(arguments.b.data, b.dtype, offset_b);
    one.c = const_cast<char*>(advance(arguments.c, target.dtype, offset_c));
    gemm.matmul(one);
  }
}

Tensor matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options) {
  check_operands(a, b, options);
  const Tensor views[] = {leading_view(a), leading_view(b)};
  Shape shape = broadcast_shape("matmul", {&views[0], &views[1]});
  shape.push_back(a.size(-2));
  shape.push_back(b.size(-1));
  const Tensor result = empty(shape, options.dtype, a.device());
  matmul_into(result, a, b, 0, options);
  return result;
}

Tensor linear(const Tensor& x, const Tensor& weight, const MatmulOptions& options, bool streams) {
  check(x.ndim >= 1 && weight.ndim == 2 && x.size(-1) == weight.shape[1], "linear: x ", shape_of(x),
        " does not fit weight ", shape_of(weight));
  Tensor rows = contiguous(x);
  const int64_t k = weight.shape[1], n = weight.shape[0];
  int64_t m = 1;
  for (int d = 0; d + 1 < x.ndim; ++d) m *= x.shape[d];
  rows.ndim = 2;
  rows.shape = {m, k};
  rows.strides = {k, 1};
  Tensor transposed = weight;
  std::swap(transposed.shape[0], transposed.shape[1]);
  std::swap(transposed.strides[0], transposed.strides[1]);
  check_operands(rows, transposed, options);
  Shape shape = x.sizes();
  shape.back() = n;
  const Tensor result = empty(shape, options.dtype, x.device());
  if (result.numel() == 0) return result;
  if (streams && options.prepacked_b == nullptr && m <= kMostFewRows &&
      (weight.strides[1] == 1 || k == 1)) {
    FewRowsArguments p;
    p.m = m, p.n = n, p.k = k;
    p.x = rows.raw(), p.x_dtype = rows.dtype, p.x_row_stride = k;
    p.weight = weight.raw(), p.weight_dtype = weight.dtype;
    p.weight_row_stride = weight.strides[0];
    p.y = result.raw(), p.y_dtype = result.dtype, p.y_row_stride = n;
    p.compute = options.compute;
    if (options.bias != nullptr) p.bias = options.bias->raw(), p.bias_dtype = options.bias->dtype;
    if (weight.is_contiguous()) announce_read(weight);
    kernels_of(x).few_rows(p);
    return result;
  }
  Tensor target = result;
  target.ndim = 2;
  target.shape = {m, n};
  target.strides = {n, 1};
  matmul_into(target, rows, transposed, 0, options);
  return result;
}

Tensor prepack(const Tensor& b, Compute compute) {
  check(b.ndim == 2 && is_floating(b.dtype), "prepack: expected a floating matrix, found ",
        name_of(b.dtype), " ", shape_of(b));
  const GemmKernels& gemm = *kernels_of(b).gemm;
  const int64_t k = b.shape[0], n = b.shape[1];
  const Tensor packed =
      empty({static_cast<int64_t>(gemm.prepacked_bytes(compute, n, k))}, DType::kUint8, b.device());
  GemmSource source;
  source.dense = {b.raw(), b.dtype, b.strides[1], b.strides[0]};
  gemm.prepack(compute, n, k, source, packed.raw());
  return packed;
}

}  // namespace fms_accel::ops
