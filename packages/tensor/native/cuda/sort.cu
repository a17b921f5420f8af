// Sorting rows by a bitonic network (Batcher, 1968): steps within a tile in shared memory, wider
// ones in memory. Pairs are ordered by key and then by position, so the result is unique.
#include "cuda/elements.h"
#include "cuda/kernel_sources.h"

namespace fms_accel::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kTile = 2 * kThreads;

__device__ __forceinline__ bool is_after(const SortPair& a, const SortPair& b) {
  return a.key != b.key ? a.key > b.key : a.position > b.position;
}

// `index` is the place in the row of the lower pair of a comparison.
__device__ __forceinline__ void compare(SortPair* lower, SortPair* upper, int64_t index,
                                        int64_t size) {
  const bool ascending = (index & size) == 0;
  const SortPair a = *lower, b = *upper;
  if (is_after(a, b) == ascending) {
    *lower = b;
    *upper = a;
  }
}

// The place of the lower pair of comparison `i` at this distance.
__device__ __forceinline__ int64_t lower_of(int64_t i, int64_t distance) {
  return i / distance * 2 * distance + i % distance;
}

__global__ void __launch_bounds__(kThreads)
    compare_far(SortPair* pairs, int64_t comparisons, int64_t length, int64_t size,
                int64_t distance) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= comparisons) return;
  const int64_t at = lower_of(i, distance);
  compare(pairs + at, pairs + at + distance, at % length, size);
}

// All steps of sizes [first_size, last_size] at distances within a tile.
__global__ void __launch_bounds__(kThreads)
    sort_tile(SortPair* pairs, int64_t total, int64_t length, int64_t first_size,
              int64_t last_size) {
  SHARED(tile, SortPair[kTile]);
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kTile;
  for (int64_t i = threadIdx.x; i < kTile && begin + i < total; i += kThreads)
    tile[i] = pairs[begin + i];
  __syncthreads();
  for (int64_t size = first_size; size <= last_size; size *= 2) {
    for (int64_t distance = min_of(size, kTile) / 2; distance > 0; distance /= 2) {
      const int64_t at = lower_of(threadIdx.x, distance);
      if (begin + at + distance < total)
        compare(&tile[at], &tile[at + distance], (begin + at) % length, size);
      __syncthreads();
    }
  }
  for (int64_t i = threadIdx.x; i < kTile && begin + i < total; i += kThreads)
    pairs[begin + i] = tile[i];
}

// A number whose order as an unsigned integer is that of the element; NaN is above everything.
__device__ __forceinline__ uint64_t key_of(const void* data, DType dtype, int64_t i) {
  if (is_floating(dtype)) {
    const float value = load<float>(data, dtype, i) + 0.0f;  // -0 and 0 are equal
    if (value != value) return 0xffffffffu;
    const unsigned bits = __float_as_uint(value);
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  }
  return static_cast<uint64_t>(load<int64_t>(data, dtype, i)) ^ (uint64_t{1} << 63);
}

__global__ void __launch_bounds__(kThreads)
    make_row_pairs(Walk<1> rows, const void* x, DType dtype, int64_t stride, int64_t length,
                   int64_t padded, int64_t total, bool descending, SortPair* pairs) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= total) return;
  const int64_t row = i / padded, at = i % padded;
  if (at >= length) {
    pairs[i] = {~uint64_t{0}, at};  // behind every element, whose positions are smaller
    return;
  }
  const uint64_t key = key_of(x, dtype, rows.offset(row) + at * stride);
  pairs[i] = {descending ? ~key : key, at};
}

__global__ void __launch_bounds__(kThreads)
    write_order(Walk<1> rows, const SortPair* pairs, int64_t* out, int64_t stride, int64_t count,
                int64_t padded, int64_t total) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= total) return;
  const int64_t row = i / count, at = i % count;
  out[rows.offset(row) + at * stride] = pairs[row * padded + at].position;
}

}  // namespace

void sort_rows(SortPair* pairs, int64_t rows, int64_t length) {
  if (length < 2) return;
  const int64_t total = rows * length;
  const dim3 tiles = grid_for(total, kTile, INT32_MAX);
  const int64_t within = min_of(length, kTile);
  launch(sort_tile, tiles, dim3(kThreads), 0, pairs, total, length, int64_t{2}, within);
  for (int64_t size = 2 * kTile; size <= length; size *= 2) {
    for (int64_t distance = size / 2; distance >= kTile; distance /= 2) {
      launch(compare_far, grid_for(total / 2, kThreads, INT32_MAX), dim3(kThreads), 0, pairs,
             total / 2, length, size, distance);
    }
    launch(sort_tile, tiles, dim3(kThreads), 0, pairs, total, length, size, size);
  }
}

void order(const Reduction& r, int64_t count, bool descending, int64_t out_stride) {
  const int64_t rows = r.kept.numel, length = r.reduced.numel;
  int64_t padded = 1;
  while (padded < length) padded *= 2;
  const Scratch scratch(static_cast<size_t>(rows * padded) * sizeof(SortPair));
  SortPair* pairs = scratch.as<SortPair>();
  launch(make_row_pairs, grid_for(rows * padded, kThreads, INT32_MAX), dim3(kThreads), 0,
         walk_of(r.kept, r.x.strides), r.x.data, r.x.dtype, r.reduced_strides[0], length, padded,
         rows * padded, descending, pairs);
  sort_rows(pairs, rows, padded);
  launch(write_order, grid_for(rows * count, kThreads, INT32_MAX), dim3(kThreads), 0,
         walk_of(r.kept, r.out.strides), pairs, static_cast<int64_t*>(r.out.data), out_stride,
         count, padded, rows * count);
}

}  // namespace fms_accel::cuda
