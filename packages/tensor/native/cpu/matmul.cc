#include "cpu/matmul.h"

#include <algorithm>

#include "cpu/array.h"
#include "cpu/gemm_pack.h"
#include "cpu/gemm_plan.h"
#include "cpu/gemm_prepack.h"
#include "cpu/kernel_sources.h"
#include "engine/thread_pool.h"

namespace fms_accel::FMS_ACCEL_ISA {

void gemm(const GemmArguments& g);  // gemm.cc

namespace {

// Products of fewer multiplications than this are not cut further: a batch of them is split
// instead.
constexpr int64_t kWholeWork = 4 << 20;

const void* advance(const MatmulOperand& operand, int64_t i) {
  if (operand.data == nullptr) return nullptr;
  return static_cast<const char*>(operand.data) +
         i * operand.batch_stride * static_cast<int64_t>(item_size(operand.dtype));
}

// A stride between rows, or columns, of which there is one says nothing: 1 lets packing take a fast
// path.
int64_t stride_of(int64_t stride, int64_t extent) { return extent == 1 ? 1 : stride; }

DenseOperand rows_of(const MatmulOperand& a, int64_t i, int64_t k) {
  return {advance(a, i), a.dtype, a.row_stride, stride_of(a.column_stride, k)};
}
DenseOperand columns_of(const MatmulOperand& b, int64_t i, int64_t k, int64_t n) {
  return {advance(b, i), b.dtype, stride_of(b.column_stride, n), stride_of(b.row_stride, k)};
}

GemmArguments product(const MatmulArguments& args, int64_t i) {
  GemmArguments g;
  g.m = args.m;
  g.n = args.n;
  g.k = args.k;
  g.a.dense = rows_of(args.a, i, args.k);
  g.b.dense = columns_of(args.b, i, args.k, args.n);
  if (args.tail_k > 0) {
    g.k += args.tail_k;
    g.a.tail_k = g.b.tail_k = args.tail_k;
    g.a.tail = rows_of(args.a_tail, i, args.tail_k);
    g.b.tail = columns_of(args.b_tail, i, args.tail_k, args.n);
  }
  g.b.prepacked = args.prepacked_b;
  g.c.data = static_cast<char*>(args.c) +
             i * args.c_batch_stride * static_cast<int64_t>(item_size(args.c_dtype));
  g.c.dtype = args.c_dtype;
  g.c.row_stride = args.c_row_stride;
  g.compute = args.compute;
  g.alpha = args.alpha;
  g.beta = args.beta;
  g.bias = args.bias;
  g.bias_dtype = args.bias_dtype;
  return g;
}

// A batch that shares B, and whose rows follow one another at one distance, is one product with
// more rows.
MatmulArguments merge_batch(MatmulArguments args) {
  if (args.m == 1) {
    args.a.row_stride = args.a.batch_stride;
    args.c_row_stride = args.c_batch_stride;
  }
  if (args.tail_k > 0) return args;
  const bool one_b = args.prepacked_b != nullptr || args.b.batch_stride == 0;
  if (args.batch > 1 && one_b && args.a.batch_stride == args.m * args.a.row_stride &&
      args.c_batch_stride == args.m * args.c_row_stride) {
    args.m *= args.batch;
    args.batch = 1;
  }
  return args;
}

void matmul(const MatmulArguments& unmerged) {
  const MatmulArguments args = unmerged.batch > 1 ? merge_batch(unmerged) : unmerged;
  const int64_t threads = usable_threads(), work = args.m * args.n * args.k;
  if (args.batch > 1 &&
      (work < kWholeWork || args.batch % threads == 0 || args.batch >= 4 * threads)) {
    // Small products several at a time, so that handing them out costs little.
    const int64_t together =
        clamp_of(kWholeWork / 16 / max_of(1, work), 1, divide_up(args.batch, threads));
    parallel_for(divide_up(args.batch, together), [&](int64_t item, int) {
      const int64_t end = min_of(args.batch, (item + 1) * together);
      for (int64_t i = item * together; i < end; ++i) gemm(product(args, i));
    });
    return;
  }
  for (int64_t i = 0; i < args.batch; ++i) gemm(product(args, i));
}

struct SmallProduct {
  int64_t work, index;
  bool operator<(const SmallProduct& other) const {
    return work != other.work ? work > other.work : index < other.index;
  }
};

// Products that are large enough go to all threads one after the other: they then read one packed
// operand together. Of the small ones each is an item, the largest first.
void matmul_each(const MatmulArguments* products, int64_t count) {
  constexpr int64_t kSharedWork = 16 << 20;  // multiplications for each thread
  const int64_t threads = usable_threads();
  const auto work = [&](int64_t i) { return products[i].m * products[i].n * products[i].k; };
  Array<SmallProduct> small;
  for (int64_t i = 0; i < count; ++i) {
    if (work(i) >= kSharedWork * threads) {
      matmul(products[i]);
    } else {
      small.push_back({work(i), i});
    }
  }
  std::sort(small.begin(), small.end());
  parallel_for(static_cast<int64_t>(small.size()),
               [&](int64_t item, int) { matmul(products[small[item].index]); });
}

GemmLayout layout(Compute compute) {
  GemmLayout result = {kTileRows, static_cast<int32_t>(kTileColumns), kLanes, 1};
  with_step(compute, [&](auto step) { result.values_per_step = decltype(step)::kValues; });
  return result;
}

}  // namespace

extern const GemmKernels kGemmKernels;
const GemmKernels kGemmKernels = {
    .gemm = gemm,
    .matmul = matmul,
    .matmul_each = matmul_each,
    .layout = layout,
    .pack_dense = pack_dense,
    .prepacked_bytes = prepacked_bytes,
    .prepack = prepack,
};

}  // namespace fms_accel::FMS_ACCEL_ISA
