#include "ops/grouped_linear.h"

#include "cpu/matmul.h"
#include "engine/error.h"
#include "ops/iteration.h"

namespace fms_accel::ops {
namespace {

void check_rows(const Tensor& x, const Shape& counts) {
  check(x.ndim == 2 && is_floating(x.dtype),
        "groupedLinear: expected floating rows [T, in], found ", name_of(x.dtype), " ",
        shape_of(x));
  int64_t rows = 0;
  for (const int64_t count : counts) {
    check(count >= 0, "groupedLinear: a group of ", count, " rows");
    rows += count;
  }
  check(rows == x.shape[0], "groupedLinear: groups of ", rows, " rows in all for x ", shape_of(x));
}

// Row `row` of a matrix, and all that follow.
MatmulOperand rows_from(const Tensor& x, int64_t row) {
  const auto item = static_cast<int64_t>(item_size(x.dtype));
  return {static_cast<const char*>(x.raw()) + row * x.strides[0] * item, x.dtype, x.strides[0],
          x.strides[1], 0};
}

MatmulOperand transposed(MatmulOperand operand) {
  std::swap(operand.row_stride, operand.column_stride);
  return operand;
}

MatmulArguments product_of(const MatmulOptions& options) {
  MatmulArguments product;
  product.c_dtype = options.dtype;
  product.compute = options.compute;
  return product;
}

void run(const Tensor& x, const std::vector<MatmulArguments>& products) {
  kernels_of(x).gemm->matmul_each(products.data(), static_cast<int64_t>(products.size()));
}

}  // namespace

Tensor grouped_linear(const Tensor& x, const std::vector<Tensor>& weights, const Shape& counts,
                      bool multiplies_transposed, const MatmulOptions& options) {
  check_rows(x, counts);
  const auto groups = static_cast<int64_t>(counts.size());
  check(!weights.empty(), "groupedLinear: no weights");
  const bool is_stacked = weights.size() == 1 && weights[0].ndim == 3;
  check(is_stacked ? weights[0].shape[0] == groups : static_cast<int64_t>(weights.size()) == groups,
        "groupedLinear: ", groups, " groups, but weights of ",
        is_stacked ? weights[0].shape[0] : static_cast<int64_t>(weights.size()));
  const Tensor& first = weights[0];
  const int64_t out = first.size(-2), in = first.size(-1);
  for (const Tensor& weight : weights) {
    check(weight.ndim == (is_stacked ? 3 : 2) && weight.size(-2) == out && weight.size(-1) == in &&
              is_floating(weight.dtype),
          "groupedLinear: expected floating weights of one shape, found ", name_of(weight.dtype),
          " ", shape_of(weight), " beside ", shape_of(first));
    check_same_device("groupedLinear", {&x, &weight});
  }
  const int64_t k = multiplies_transposed ? out : in, n = multiplies_transposed ? in : out;
  check(x.shape[1] == k, "groupedLinear: x ", shape_of(x), " does not fit weights ",
        shape_of(first));
  const Tensor result = empty({x.shape[0], n}, options.dtype, x.device());
  std::vector<MatmulArguments> products;
  int64_t row = 0;
  for (int64_t g = 0; g < groups; ++g) {
    MatmulArguments product = product_of(options);
    product.m = counts[g], product.n = n, product.k = k;
    if (product.m * n == 0) continue;
    const Tensor& weight = is_stacked ? first : weights[g];
    const int64_t start = is_stacked ? g * weight.strides[0] : 0;
    const MatmulOperand stored = {static_cast<const char*>(weight.raw()) +
                                      start * static_cast<int64_t>(item_size(weight.dtype)),
                                  weight.dtype, weight.stride(-2), weight.stride(-1), 0};
    product.a = rows_from(x, row);
    product.b = multiplies_transposed ? stored : transposed(stored);
    product.c =
        static_cast<char*>(result.raw()) + row * n * static_cast<int64_t>(item_size(result.dtype));
    product.c_row_stride = n;
    products.push_back(product);
    row += counts[g];
  }
  run(x, products);
  return result;
}

std::vector<Tensor> grouped_weight_gradients(const Tensor& gradient, const Tensor& x,
                                             const Shape& counts, bool is_stacked,
                                             const Shape& wanted, const MatmulOptions& options) {
  check_rows(gradient, counts);
  check_rows(x, counts);
  check_same_device("groupedLinear", {&gradient, &x});
  const auto groups = static_cast<int64_t>(counts.size());
  const int64_t out = gradient.shape[1], in = x.shape[1];
  std::vector<Tensor> results;
  if (is_stacked) results.push_back(empty({groups, out, in}, options.dtype, x.device()));
  std::vector<int64_t> starts(counts.size());
  for (size_t g = 1; g < counts.size(); ++g) starts[g] = starts[g - 1] + counts[g - 1];
  std::vector<MatmulArguments> products;
  const auto add = [&](int64_t g, void* result) {
    MatmulArguments product = product_of(options);
    product.m = out, product.n = in, product.k = counts[g];
    if (out * in == 0) return;
    product.a = transposed(rows_from(gradient, starts[g]));
    product.b = rows_from(x, starts[g]);
    product.c = result;
    product.c_row_stride = in;
    products.push_back(product);
  };
  if (is_stacked) {
    const auto matrix_bytes = out * in * static_cast<int64_t>(item_size(options.dtype));
    for (int64_t g = 0; g < groups; ++g)
      add(g, static_cast<char*>(results[0].raw()) + g * matrix_bytes);
  } else {
    for (const int64_t g : wanted) {
      check(g >= 0 && g < groups, "groupedLinear: no group ", g);
      results.push_back(empty({out, in}, options.dtype, x.device()));
      add(g, results.back().raw());
    }
  }
  run(x, products);
  return results;
}

}  // namespace fms_accel::ops
