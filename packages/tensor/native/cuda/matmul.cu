// Products of matrices: those in float32 (fused multiply-adds, no TF32), and which kernel or
// library takes one. Operands of any floating dtype and strides are read into registers while the
// tile before is multiplied, converted, and put into shared memory. Each element is summed over k
// in rising order by one thread, so its bits depend on its row, its column and k.
#include <algorithm>
#include <optional>

#include "cuda/cublaslt.h"
#include "cuda/kernel_sources.h"
#include "cuda/product_kernels.h"
#include "engine/error.h"

namespace fms_accel::cuda {
namespace {

// k that is summed from 0 before it is added to the rest: keeps the rounding of long sums small.
constexpr int64_t kRunOfSum = 64;

// 16 x 16 threads, each PerThread x PerThread elements that lie 16 apart.
template <int PerThread, class Parts>
__global__ void __launch_bounds__(256) multiply_float(Parts parts) {
  const Part& part = parts.of_block();
  if (!part.has_block()) return;
  constexpr int kSize = 16 * PerThread, kSteps = 16, kThreads = 256;
  constexpr int kLoads = kSize * kSteps / kThreads;
  SHARED(tile_a, float[kSteps][kSize + 1]);
  SHARED(tile_b, float[kSteps][kSize + 1]);
  const Product& p = part.p;
  const int64_t matrix = part.first + blockIdx.y, outer = matrix / p.inner,
                inner = matrix % p.inner;
  Lanes a = lanes_of_a(p, 0, outer, inner), b = lanes_of_b(p, 0, outer, inner);
  int64_t row0, column0;
  place_of_block(part, &row0, &column0);
  row0 *= kSize, column0 *= kSize;
  const int thread = static_cast<int>(threadIdx.x), own_row = thread / 16, own_column = thread % 16;
  // Neighbouring threads read along the contiguous direction.
  const bool a_along_k = a.k_stride <= a.lane_stride, b_along_k = b.k_stride <= b.lane_stride;

  float totals[PerThread][PerThread], sums[PerThread][PerThread], next_a[kLoads], next_b[kLoads];
#pragma unroll
  for (int i = 0; i < PerThread; ++i) {
#pragma unroll
    for (int j = 0; j < PerThread; ++j) totals[i][j] = sums[i][j] = 0.0f;
  }
  const auto place = [&](bool along_k, int i, int* lane, int* step) {
    const int at = thread + i * kThreads;
    *lane = along_k ? at / kSteps : at % kSize;
    *step = along_k ? at % kSteps : at / kSize;
  };
  const auto read = [&](int64_t k0) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      int lane, step;
      place(a_along_k, i, &lane, &step);
      next_a[i] = a.at(row0 + lane, k0 + step);
      place(b_along_k, i, &lane, &step);
      next_b[i] = b.at(column0 + lane, k0 + step);
    }
  };
  for (int section = 0; section < 2; ++section) {
    if (section == 1) {
      a = lanes_of_a(p, 1, outer, inner);
      b = lanes_of_b(p, 1, outer, inner);
    }
    const int64_t k = a.k;
    if (k > 0) read(0);
    for (int64_t k0 = 0; k0 < k; k0 += kSteps) {
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        int lane, step;
        place(a_along_k, i, &lane, &step);
        tile_a[step][lane] = next_a[i];
        place(b_along_k, i, &lane, &step);
        tile_b[step][lane] = next_b[i];
      }
      __syncthreads();
      if (k0 + kSteps < k) read(k0 + kSteps);
      const int steps = static_cast<int>(min_of(kSteps, k - k0));
      for (int step = 0; step < steps; ++step) {
        float values_a[PerThread], values_b[PerThread];
#pragma unroll
        for (int i = 0; i < PerThread; ++i) {
          values_a[i] = tile_a[step][own_row + 16 * i];
          values_b[i] = tile_b[step][own_column + 16 * i];
        }
#pragma unroll
        for (int i = 0; i < PerThread; ++i) {
#pragma unroll
          for (int j = 0; j < PerThread; ++j) sums[i][j] += values_a[i] * values_b[j];
        }
      }
      __syncthreads();
      if ((k0 + kSteps) % kRunOfSum != 0 && k0 + kSteps < k) continue;
#pragma unroll
      for (int i = 0; i < PerThread; ++i) {
#pragma unroll
        for (int j = 0; j < PerThread; ++j) {
          totals[i][j] += sums[i][j];
          sums[i][j] = 0.0f;
        }
      }
    }
  }
  const int64_t c_base = base_of(p.c, outer, inner);
#pragma unroll
  for (int i = 0; i < PerThread; ++i) {
    const int64_t row = row0 + own_row + 16 * i;
    if (row >= p.m) continue;
#pragma unroll
    for (int j = 0; j < PerThread; ++j) {
      const int64_t column = column0 + own_column + 16 * j;
      if (column < p.n) store_element(p, c_base, row, column, totals[i][j]);
    }
  }
}

}  // namespace

void launch_product(void (*kernel)(Part), int64_t size, unsigned threads, size_t shared_bytes,
                    const Product& p, bool copies_tail) {
  const int64_t rows = ceil_div(p.m, size), columns = ceil_div(p.n, size);
  check(rows * columns <= INT32_MAX, "matmul: a result of ", p.m, " x ", p.n,
        " is larger than one product on cuda makes");
  Part part{p,           0,    0, static_cast<unsigned>(rows), static_cast<unsigned>(columns),
            copies_tail, false};
  part.stores_fours = reinterpret_cast<uintptr_t>(p.c.data) % 16 == 0 && p.c.row_stride % 4 == 0 &&
                      p.c.outer_stride % 4 == 0 && p.c.inner_stride % 4 == 0;
  const int64_t matrices = p.outer * p.inner;
  for (; part.first < matrices; part.first += 65535) {
    launch(kernel,
           dim3(static_cast<unsigned>(rows * columns),
                static_cast<unsigned>(min_of(65535, matrices - part.first))),
           dim3(threads), shared_bytes, part);
  }
}

void launch_groups(void (*kernel)(GroupedPart), int64_t size, unsigned threads, size_t shared_bytes,
                   const Product& common, const GroupedMatmul& grouped) {
  static_assert(sizeof(GroupedPart) <= 4096, "what every driver takes as arguments of a kernel");
  const int64_t columns = ceil_div(common.n, size), rows = grouped.sums_rows ? common.k : common.m;
  GroupedPart part{};
  part.common = {common,
                 0,
                 0,
                 static_cast<unsigned>(ceil_div(common.m, size)),
                 static_cast<unsigned>(columns),
                 false,
                 false};
  part.offsets = grouped.offsets;
  part.rows = rows;
  part.block_size = size;
  part.sums_rows = grouped.sums_rows;
  for (int64_t first = 0; first < grouped.count; first += part.count) {
    part.count = static_cast<int>(min_of(kMostGroups, grouped.count - first));
    std::copy_n(grouped.groups + first, part.count, part.groups);
    part.common.stores_fours = common.c.row_stride % 4 == 0;
    for (int i = 0; i < part.count; ++i) {
      const void* const c = grouped.sums_rows ? part.groups[i].matrix : common.c.data;
      part.common.stores_fours =
          part.common.stores_fours && reinterpret_cast<uintptr_t>(c) % 16 == 0;
    }
    const int64_t block_rows =
        grouped.sums_rows ? ceil_div(common.m, size) : common.m / size + part.count;
    check(block_rows * columns <= INT32_MAX, "groupedLinear: a result of ", common.m, " x ",
          common.n, " is larger than one product on cuda makes");
    launch(kernel,
           dim3(static_cast<unsigned>(block_rows * columns),
                grouped.sums_rows ? static_cast<unsigned>(part.count) : 1u),
           dim3(threads), shared_bytes, part);
  }
}

bool takes_copies_of_groups(const Product& common, const GroupedMatmul& grouped, bool a_along_k,
                            bool b_along_k) {
  if (!takes_copies(common.a, a_along_k)) return false;
  // Groups begin at any row.
  const int64_t a_step = grouped.sums_rows ? common.a.column_stride : common.a.row_stride;
  if (a_step % 8 != 0) return false;
  if (grouped.sums_rows) return takes_copies(common.b, !b_along_k) && common.b.row_stride % 8 == 0;
  for (int64_t g = 0; g < grouped.count; ++g) {
    ProductOperand b = common.b;
    b.data = grouped.groups[g].matrix;
    if (!takes_copies(b, !b_along_k)) return false;
  }
  return true;
}

namespace {

// A matrix [rows, columns], rounded to bfloat16 in `memory`; its direction stays as it is.
ProductOperand rounded(const ProductOperand& x, int64_t rows, int64_t columns,
                       std::optional<Scratch>* memory) {
  const bool by_rows = lies_by_rows(x);
  const int64_t lines = by_rows ? rows : columns, length = by_rows ? columns : rows;
  const int64_t line_stride = by_rows ? x.row_stride : x.column_stride,
                step = by_rows ? x.column_stride : x.row_stride;
  const int64_t stride = ceil_div(length, 8) * 8;
  memory->emplace(static_cast<size_t>(lines * stride) * sizeof(uint16_t));
  Loop loop;
  loop.numel = lines * length;
  Operand out{(*memory)->as<void>(), DType::kBFloat16, {}},
      in{const_cast<void*>(x.data), x.dtype, {}};
  if (step == 1 && line_stride == length && stride == length) {
    loop.ndim = 1;
    loop.shape[0] = loop.numel;
    out.strides[0] = in.strides[0] = 1;
  } else {
    loop.ndim = 2;
    loop.shape[0] = lines, loop.shape[1] = length;
    out.strides[0] = stride, out.strides[1] = 1;
    in.strides[0] = line_stride, in.strides[1] = step;
  }
  unary(UnaryOp::kCopy, 0, 0, loop, out, in);
  ProductOperand result{out.data, out.dtype, stride, stride, 0, 0};
  (by_rows ? result.column_stride : result.row_stride) = 1;
  return result;
}

}  // namespace

void multiply(const Product& p) {
  const int64_t matrices = p.outer * p.inner;
  if (p.m == 0 || p.n == 0 || matrices == 0) return;
  const bool copies_a = takes_copies(p.a, lies_by_rows(p.a)),
             copies_b = takes_copies(p.b, lies_by_rows(p.b));
  if (p.compute == Compute::kBFloat16 && matrices == 1 && p.k > 0 && is_large_product(p) &&
      !(copies_a && copies_b)) {
    // Blocks read an operand many times: it is rounded and aligned once, and the fast ways take it.
    std::optional<Scratch> memory_of_a, memory_of_b;
    Product q = p;
    if (!copies_a) q.a = rounded(p.a, p.m, p.k, &memory_of_a);
    if (!copies_b) q.b = rounded(p.b, p.k, p.n, &memory_of_b);
    return multiply(q);
  }
  if (multiply_by_cublaslt(p)) return;
  if (p.compute == Compute::kBFloat16) return multiply_bf16(p);
  if (is_large_product(p)) {
    launch_product(multiply_float<8, Part>, 128, 256, 0, p);
  } else {
    launch_product(multiply_float<4, Part>, 64, 256, 0, p);
  }
}

namespace {

Product product_of(const MatmulArguments& args) {
  const auto operand = [&](const MatmulOperand& x) {
    const int64_t inner_stride = args.batch == 1 ? 0 : x.batch_stride;
    return ProductOperand{x.data, x.dtype, x.row_stride, x.column_stride, 0, inner_stride};
  };
  check(args.prepacked_b == nullptr, "matmul: a prepacked matrix belongs to the CPU");
  Product p;
  p.m = args.m;
  p.n = args.n;
  p.k = args.k;
  p.inner = args.batch;
  p.a = operand(args.a);
  p.b = operand(args.b);
  p.a_tail = operand(args.a_tail);
  p.b_tail = operand(args.b_tail);
  p.tail_k = args.tail_k;
  p.c = {args.c, args.c_dtype, args.c_row_stride, 1, 0, args.c_batch_stride};
  p.compute = args.compute;
  p.alpha = args.alpha;
  p.beta = args.beta;
  p.bias = args.bias;
  p.bias_dtype = args.bias_dtype;
  return p;
}

}  // namespace

void matmul(const MatmulArguments& args) { multiply(product_of(args)); }

// How large the groups are is not known here: the kernel is chosen by their mean.
void matmul_groups(const GroupedMatmul& grouped) {
  Product common = product_of(grouped.common);
  if (grouped.count == 0) return;
  const int64_t rows = grouped.sums_rows ? common.m : common.m / grouped.count,
                blocks = grouped.sums_rows ? ceil_div(common.m, 128) * grouped.count
                                           : ceil_div(common.m, 128);
  const bool is_large = rows > 64 && common.n > 64 && blocks * ceil_div(common.n, 128) >= 64;
  if (common.compute == Compute::kBFloat16) return multiply_groups_bf16(common, grouped, is_large);
  is_large ? launch_groups(multiply_float<8, GroupedPart>, 128, 256, 0, common, grouped)
           : launch_groups(multiply_float<4, GroupedPart>, 64, 256, 0, common, grouped);
}

namespace {

// Sources, sinks and prepacked matrices are the CPU's (cpu/gemm.h).
[[noreturn]] void refuse(const char* what) {
  fail("gemm: ", what, " is not available on cuda; run it on cpu");
}

}  // namespace

const GemmKernels kGemmKernels = {
    .gemm = [](const GemmArguments&) { refuse("a product with sources and sinks"); },
    .matmul = matmul,
    .matmul_each = [](const MatmulArguments*, int64_t) { refuse("a list of products"); },
    .layout = [](Compute) -> GemmLayout { refuse("a layout of panels"); },
    .pack_dense = [](Compute, const DenseOperand&,
                     const GemmPanels&) { refuse("packing into panels"); },
    .prepacked_bytes = [](Compute, int64_t, int64_t) -> size_t { refuse("a prepacked matrix"); },
    .prepack = [](Compute, int64_t, int64_t, const GemmSource&,
                  void*) { refuse("a prepacked matrix"); },
};

}  // namespace fms_accel::cuda
