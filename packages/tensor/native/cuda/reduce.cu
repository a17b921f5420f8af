// Reductions. Floats are added in float64, so a sum of any length is rounded once; integers in
// int64. Segments are cut by shape alone, and their results are joined in order.
#include "cuda/elements.h"
#include "cuda/kernel_sources.h"
#include "cuda/reduction.h"

namespace fms_accel::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kSegment = 1 << 15;  // elements of a row that one block reduces
constexpr int64_t kShortRow = 1024;    // rows up to this are reduced by one warp each
constexpr int64_t kColumnRows = 512;   // elements of a column that one thread reduces
constexpr int kWarpsOfBlock = kThreads / 32;

// x of a reduction: kept positions times reduced ones.
struct Source {
  Walk<1> kept, reduced;
  const void* data;
  DType dtype;
  int64_t rows, length;
};

Source source_of(const Reduction& r) {
  return {walk_of(r.kept, r.x.strides),
          walk_of(r.reduced, r.reduced_strides),
          r.x.data,
          r.x.dtype,
          r.kept.numel,
          r.reduced.numel};
}

template <class Compute, class Op>
__device__ __forceinline__ typename Op::Total join_strided(const Source& s, int64_t row,
                                                           int64_t begin, int64_t end,
                                                           int64_t step) {
  using Total = typename Op::Total;
  const int64_t base = s.kept.offset(row);
  Total total = Op::neutral();
  for (int64_t i = begin; i < end; i += step) {
    const Compute value = load<Compute>(s.data, s.dtype, base + s.reduced.offset(i));
    total = Op::join(total, static_cast<Total>(value));
  }
  return total;
}

// totals[row * segments + segment]: a warp for each short row, a block for each segment of a
// long one.
template <class Compute, class Op>
__global__ void __launch_bounds__(kThreads)
    reduce_short_rows(Source s, typename Op::Total* totals) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarpsOfBlock + threadIdx.x / 32;
  if (row >= s.rows) return;
  const auto total =
      warp_join<Op>(join_strided<Compute, Op>(s, row, threadIdx.x % 32, s.length, 32));
  if (threadIdx.x % 32 == 0) totals[row] = total;
}
template <class Compute, class Op>
__global__ void __launch_bounds__(kThreads)
    reduce_segments(Source s, int64_t segments, typename Op::Total* totals) {
  const int64_t row = blockIdx.x / segments, segment = blockIdx.x % segments;
  const int64_t begin = segment * kSegment, end = min_of(s.length, begin + kSegment);
  const auto total = block_join<Op, kThreads>(
      join_strided<Compute, Op>(s, row, begin + threadIdx.x, end, kThreads));
  if (threadIdx.x == 0) totals[blockIdx.x] = total;
}
// Neighbouring threads take neighbouring kept positions.
template <class Compute, class Op>
__global__ void __launch_bounds__(kThreads)
    reduce_columns(Source s, int64_t segments, int64_t segment_rows, typename Op::Total* totals) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= s.rows) return;
  const int64_t segment = blockIdx.y, begin = segment * segment_rows;
  totals[row * segments + segment] =
      join_strided<Compute, Op>(s, row, begin, min_of(s.length, begin + segment_rows), 1);
}

// out = the join of a row's segments, divided by `divisor`.
template <class Compute, class Op>
__global__ void __launch_bounds__(kThreads)
    finish_rows(const typename Op::Total* totals, int64_t rows, int64_t segments, Walk<1> out_walk,
                void* out, DType dtype, double divisor) {
  using Total = typename Op::Total;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= rows) return;
  Total total = totals[row * segments];
  for (int64_t s = 1; s < segments; ++s) total = Op::join(total, totals[row * segments + s]);
  if (divisor != 1) total = static_cast<Total>(static_cast<double>(total) / divisor);
  store<Compute>(out, dtype, out_walk.offset(row), static_cast<Compute>(total));
}

// Whether several threads share a row: its elements lie closer together than neighbouring rows, or
// there are few rows.
bool are_rows_shared(const Reduction& r) {
  const int64_t reduced = r.reduced_strides[r.reduced.ndim - 1],
                kept = r.x.strides[r.kept.ndim - 1];
  if (r.reduced.numel < 16) return false;
  return r.kept.numel < 32 || (reduced != 0 && (reduced <= kept || kept == 0));
}

template <class Compute, class Op>
void reduce_by(const Reduction& r, double divisor = 1) {
  using Total = typename Op::Total;
  const Source s = source_of(r);
  const bool by_row = are_rows_shared(r);
  // A grid has at most 65535 blocks in its second dimension.
  const int64_t segment = by_row ? kSegment : max_of(kColumnRows, ceil_div(s.length, 65535));
  const int64_t segments = ceil_div(s.length, segment);
  const Scratch scratch(static_cast<size_t>(s.rows * segments) * sizeof(Total));
  Total* totals = scratch.as<Total>();
  if (!by_row) {
    dim3 grid = grid_for(s.rows, kThreads, INT32_MAX);
    grid.y = static_cast<unsigned>(segments);
    launch(reduce_columns<Compute, Op>, grid, dim3(kThreads), 0, s, segments, segment, totals);
  } else if (s.length <= kShortRow) {
    launch(reduce_short_rows<Compute, Op>, grid_for(s.rows, kWarpsOfBlock, INT32_MAX),
           dim3(kThreads), 0, s, totals);
  } else {
    launch(reduce_segments<Compute, Op>, grid_for(s.rows * segments, 1, INT32_MAX), dim3(kThreads),
           0, s, segments, totals);
  }
  launch(finish_rows<Compute, Op>, grid_for(s.rows, kThreads, INT32_MAX), dim3(kThreads), 0, totals,
         s.rows, segments, walk_of(r.kept, r.out.strides), r.out.data, r.out.dtype, divisor);
}

// A value and where it stands: the first of the largest wins, the first NaN over every number.
template <class Compute>
struct Place {
  Compute value;
  int64_t index;
};
template <class Compute>
struct FirstLargest {
  using Total = Place<Compute>;
  static __device__ __forceinline__ Total join(const Total& a, const Total& b) {
    if (a.index < 0) return b;
    if (b.index < 0) return a;
    const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    if (a_nan != b_nan) return a_nan ? a : b;
    if (!a_nan && a.value != b.value) return a.value > b.value ? a : b;
    return a.index < b.index ? a : b;
  }
};

template <class Compute>
__global__ void __launch_bounds__(kThreads) argmax_rows(Source s, Walk<1> out_walk, int64_t* out) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarpsOfBlock + threadIdx.x / 32;
  if (row >= s.rows) return;
  const int64_t base = s.kept.offset(row);
  Place<Compute> best{static_cast<Compute>(0), -1};
  for (int64_t i = threadIdx.x % 32; i < s.length; i += 32) {
    const Place<Compute> own{load<Compute>(s.data, s.dtype, base + s.reduced.offset(i)), i};
    best = FirstLargest<Compute>::join(best, own);
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    const Place<Compute> other{__shfl_xor_sync(kFullMask, best.value, distance),
                               __shfl_xor_sync(kFullMask, best.index, distance)};
    best = FirstLargest<Compute>::join(best, other);
  }
  if (threadIdx.x % 32 == 0) out[out_walk.offset(row)] = best.index;
}

__global__ void __launch_bounds__(kThreads)
    logsumexp_rows(Source s, Walk<1> out_walk, void* out, DType dtype) {
  const int64_t row = blockIdx.x;
  float own = -infinity();
  const int64_t base = s.kept.offset(row);
  for (int64_t i = threadIdx.x; i < s.length; i += kThreads)
    own = Largest<float>::join(own, load<float>(s.data, s.dtype, base + s.reduced.offset(i)));
  const float largest = block_join<Largest<float>, kThreads>(own);
  const float shift = fabsf(largest) == infinity() ? 0.0f : largest;
  double sum = 0;
  for (int64_t i = threadIdx.x; i < s.length; i += kThreads)
    sum +=
        static_cast<double>(expf(load<float>(s.data, s.dtype, base + s.reduced.offset(i)) - shift));
  sum = block_join<Sum<double>, kThreads>(sum);
  if (threadIdx.x == 0)
    store<float>(out, dtype, out_walk.offset(row),
                 static_cast<float>(static_cast<double>(shift) + log(sum)));
}

// A block for each row: a chunk of kThreads elements at a time, each by a scan in shared memory.
template <class Compute, class Total>
__global__ void __launch_bounds__(kThreads)
    cumsum_rows(Source s, Walk<1> out_walk, void* out, DType dtype, int64_t out_stride,
                bool reverse) {
  SHARED(scan, Total[kThreads]);
  const int64_t row = blockIdx.x, from = s.kept.offset(row), to = out_walk.offset(row);
  Total carry = static_cast<Total>(0);
  for (int64_t begin = 0; begin < s.length; begin += kThreads) {
    const int64_t i = begin + threadIdx.x, at = reverse ? s.length - 1 - i : i;
    const bool is_inside = i < s.length;
    scan[threadIdx.x] =
        is_inside ? static_cast<Total>(load<Compute>(s.data, s.dtype, from + s.reduced.offset(at)))
                  : static_cast<Total>(0);
    __syncthreads();
    for (unsigned distance = 1; distance < kThreads; distance *= 2) {
      const Total before =
          threadIdx.x >= distance ? scan[threadIdx.x - distance] : static_cast<Total>(0);
      __syncthreads();
      scan[threadIdx.x] = Sum<Total>::join(scan[threadIdx.x], before);
      __syncthreads();
    }
    if (is_inside)
      store<Compute>(out, dtype, to + at * out_stride,
                     static_cast<Compute>(Sum<Total>::join(carry, scan[threadIdx.x])));
    carry = Sum<Total>::join(carry, scan[kThreads - 1]);
    __syncthreads();
  }
}

}  // namespace

void reduce(ReduceOp op, const Reduction& r) {
  const bool floating = is_floating(r.x.dtype);
  switch (op) {
    case ReduceOp::kSum:
      return floating ? reduce_by<float, Sum<double>>(r) : reduce_by<int64_t, Sum<int64_t>>(r);
    case ReduceOp::kMean:
      return reduce_by<float, Sum<double>>(r, static_cast<double>(r.reduced.numel));
    case ReduceOp::kMaximum:
      return floating ? reduce_by<float, Largest<float>>(r)
                      : reduce_by<int64_t, Largest<int64_t>>(r);
    case ReduceOp::kMinimum:
      return floating ? reduce_by<float, Smallest<float>>(r)
                      : reduce_by<int64_t, Smallest<int64_t>>(r);
  }
}

void argmax(const Reduction& r) {
  const auto kernel = is_floating(r.x.dtype) ? argmax_rows<float> : argmax_rows<int64_t>;
  launch(kernel, grid_for(r.kept.numel, kWarpsOfBlock, INT32_MAX), dim3(kThreads), 0, source_of(r),
         walk_of(r.kept, r.out.strides), static_cast<int64_t*>(r.out.data));
}

void logsumexp(const Reduction& r) {
  launch(logsumexp_rows, grid_for(r.kept.numel, 1, INT32_MAX), dim3(kThreads), 0, source_of(r),
         walk_of(r.kept, r.out.strides), r.out.data, r.out.dtype);
}

void cumsum(const Reduction& r, int64_t out_stride, bool reverse) {
  const auto kernel =
      is_floating(r.x.dtype) ? cumsum_rows<float, double> : cumsum_rows<int64_t, int64_t>;
  launch(kernel, grid_for(r.kept.numel, 1, INT32_MAX), dim3(kThreads), 0, source_of(r),
         walk_of(r.kept, r.out.strides), r.out.data, r.out.dtype, out_stride, reverse);
}

}  // namespace fms_accel::cuda
