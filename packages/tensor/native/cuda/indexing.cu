// Reading and adding by index. Additions to one target happen in the order of the indices.
#include "cuda/elements.h"
#include "cuda/groups.h"
#include "cuda/index_check.h"
#include "cuda/kernel_sources.h"
#include "cuda/reduction.h"

namespace fms_accel::cuda {
namespace {

constexpr int kThreads = 256;
constexpr unsigned long long kNone = ~0ull;

__global__ void __launch_bounds__(kThreads)
    check_values(const int64_t* index, int64_t count, int64_t size, bool allows, int64_t allowed,
                 int64_t* checked, unsigned long long* first) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
       i += step) {
    const int64_t value = index[i];
    if (allows && value == allowed) {
      checked[i] = -1;
    } else if (value >= 0 && value < size) {
      checked[i] = value;
    } else {
      checked[i] = 0;  // what the kernels behind read must exist
      atomicMin(first, static_cast<unsigned long long>(i));
    }
  }
}

__global__ void write_record(const int64_t* index, const unsigned long long* first,
                             CheckRecord* record) {
  // A graph writes here again before the host has looked: what is wrong stays.
  if (*first == kNone || record->position != kNone) return;
  record->value = static_cast<long long>(index[*first]);
  record->position = *first;
}

template <class Stored>
__global__ void __launch_bounds__(kThreads)
    gather_lines(Walk<3> walk, const Stored* x, Stored* out, const int64_t* index, int64_t lines,
                 int64_t length, int64_t out_stride, int64_t x_stride, int64_t index_stride) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < lines * length;
       i += step) {
    const int64_t line = i / length, j = i % length;
    int64_t at[3];
    walk.offsets(line, at);
    out[at[0] + j * out_stride] = x[at[1] + index[at[2] + j * index_stride] * x_stride];
  }
}

template <class Stored>
void gather_stored(const IndexedLines& g) {
  launch(gather_lines<Stored>, grid_for(g.lines.numel * g.length, kThreads), dim3(kThreads), 0,
         walk_of(g.lines, g.out.kept.strides, g.x.kept.strides, g.index_lines.strides),
         static_cast<const Stored*>(g.x.kept.data), static_cast<Stored*>(g.out.kept.data), g.index,
         g.lines.numel, g.length, g.out.stride, g.x.stride, g.index_stride);
}

// One thread a line: its additions keep their order.
template <class Compute>
__global__ void __launch_bounds__(kThreads)
    scatter_lines(Walk<3> walk, const void* x, void* out, DType dtype, const int64_t* index,
                  int64_t lines, int64_t length, int64_t out_stride, int64_t x_stride,
                  int64_t index_stride) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t line = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; line < lines;
       line += step) {
    int64_t at[3];
    walk.offsets(line, at);
    for (int64_t j = 0; j < length; ++j) {
      const int64_t target = at[0] + index[at[2] + j * index_stride] * out_stride;
      store<Compute>(out, dtype, target,
                     Sum<Compute>::join(load<Compute>(out, dtype, target),
                                        load<Compute>(x, dtype, at[1] + j * x_stride)));
    }
  }
}

// target row j = source row index[j], in units of `Unit`, the largest that rows are made of.
template <class Unit>
__global__ void __launch_bounds__(kThreads)
    select_rows(const Unit* source, Unit* target, const int64_t* index, int64_t outer,
                int64_t count, int64_t source_rows, int64_t target_rows, int64_t row_units) {
  const int64_t total = outer * count * row_units;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < total;
       i += step) {
    const int64_t unit = i % row_units, row = i / row_units, j = row % count, o = row / count;
    target[(o * target_rows + j) * row_units + unit] =
        source[(o * source_rows + index[j]) * row_units + unit];
  }
}

template <class Unit>
void select_units(const IndexedRows& s, int64_t row_bytes) {
  const int64_t units = row_bytes / static_cast<int64_t>(sizeof(Unit));
  launch(select_rows<Unit>, grid_for(s.outer * s.count * units, kThreads), dim3(kThreads), 0,
         static_cast<const Unit*>(s.source), static_cast<Unit*>(s.target), s.index, s.outer,
         s.count, s.source_rows, s.target_rows, units);
}

// (row, position) pairs; what is skipped, and what fills the power of two, goes to the end.
__global__ void __launch_bounds__(kThreads)
    make_pairs(const int64_t* index, int64_t count, int64_t padded, SortPair* pairs) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= padded) return;
  const bool counts = i < count && index[i] >= 0;
  pairs[i] = {counts ? static_cast<uint64_t>(index[i]) : kNone, i};
}

// One block for each run of equal rows in the sorted pairs, and each part of a row: adds the run
// up and rounds once.
template <class Compute, class Total>
__global__ void __launch_bounds__(kThreads)
    add_runs(const SortPair* pairs, int64_t count, const void* source, void* target, DType dtype,
             int64_t inner, int64_t source_rows, int64_t target_rows) {
  const int64_t begin = blockIdx.x;
  const uint64_t row = pairs[begin].key;
  if (row == kNone || (begin > 0 && pairs[begin - 1].key == row)) return;
  const int64_t outer = blockIdx.z;
  for (int64_t i = static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x; i < inner;
       i += static_cast<int64_t>(gridDim.y) * kThreads) {
    const int64_t to = (outer * target_rows + static_cast<int64_t>(row)) * inner + i;
    Total total = static_cast<Total>(load<Compute>(target, dtype, to));
    for (int64_t at = begin; at < count && pairs[at].key == row; ++at) {
      const int64_t from = (outer * source_rows + pairs[at].position) * inner + i;
      total = Sum<Total>::join(total, static_cast<Total>(load<Compute>(source, dtype, from)));
    }
    store<Compute>(target, dtype, to, static_cast<Compute>(total));
  }
}

// Block g lists the positions of group g, in their order, behind those of the groups before.
__global__ void __launch_bounds__(kThreads)
    list_group(const int64_t* group, int64_t count, int64_t* order, int64_t* offsets) {
  constexpr int kWarps = kThreads / 32;
  SHARED(own_of_warp, int[kWarps]);
  const int64_t own = blockIdx.x;
  int64_t before = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) before += group[i] < own ? 1 : 0;
  int64_t place = block_join<Sum<int64_t>, kThreads>(before);
  if (threadIdx.x == 0) offsets[own] = place;
  if (own == gridDim.x - 1) return;  // only where the last group ends
  const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int64_t first = 0; first < count; first += kThreads) {
    const int64_t i = first + threadIdx.x;
    const bool is_own = i < count && group[i] == own;
    const unsigned votes = __ballot_sync(kFullMask, is_own);
    if (lane == 0) own_of_warp[warp] = __popc(votes);
    __syncthreads();
    int64_t at = place;
#pragma unroll
    for (unsigned w = 0; w < kWarps; ++w) {
      if (w < warp) at += own_of_warp[w];
      place += own_of_warp[w];
    }
    if (is_own) order[at + __popc(votes & ((1u << lane) - 1))] = i;
    __syncthreads();  // own_of_warp may be written again
  }
}

}  // namespace

void group_rows(const int64_t* group, int64_t count, int64_t groups, int64_t* order,
                int64_t* offsets) {
  launch(list_group, dim3(static_cast<unsigned>(groups + 1)), dim3(kThreads), 0, group, count,
         order, offsets);
}

void enqueue_index_check(const int64_t* index, int64_t count, int64_t* checked,
                         const IndexCheck& check, CheckRecord* record) {
  const Scratch first(sizeof(unsigned long long));
  require(cudaMemsetAsync(first.as<void>(), 0xff, sizeof(unsigned long long), current_stream()));
  if (count > 0) {
    launch(check_values, grid_for(count, kThreads, 1024), dim3(kThreads), 0, index, count,
           check.size, check.allows, check.allowed, checked, first.as<unsigned long long>());
  }
  launch(write_record, dim3(1), dim3(1), 0, index, first.as<unsigned long long>(), record);
}

void gather(const IndexedLines& g) {
  switch (item_size(g.x.kept.dtype)) {
    case 1:
      return gather_stored<uint8_t>(g);
    case 2:
      return gather_stored<uint16_t>(g);
    case 4:
      return gather_stored<uint32_t>(g);
    default:
      return gather_stored<uint64_t>(g);
  }
}

void scatter_add(const IndexedLines& g) {
  const auto walk = walk_of(g.lines, g.out.kept.strides, g.x.kept.strides, g.index_lines.strides);
  const auto kernel = is_floating(g.x.kept.dtype) ? scatter_lines<float> : scatter_lines<int64_t>;
  launch(kernel, grid_for(g.lines.numel, kThreads), dim3(kThreads), 0, walk, g.x.kept.data,
         g.out.kept.data, g.x.kept.dtype, g.index, g.lines.numel, g.length, g.out.stride,
         g.x.stride, g.index_stride);
}

void index_select(const IndexedRows& s) {
  const int64_t row_bytes = s.inner * static_cast<int64_t>(item_size(s.dtype));
  const auto misalignment =
      (reinterpret_cast<uintptr_t>(s.source) | reinterpret_cast<uintptr_t>(s.target) |
       static_cast<uintptr_t>(row_bytes)) %
      16;
  if (misalignment == 0) return select_units<uint4>(s, row_bytes);
  if (misalignment % 4 == 0) return select_units<uint32_t>(s, row_bytes);
  if (misalignment % 2 == 0) return select_units<uint16_t>(s, row_bytes);
  select_units<uint8_t>(s, row_bytes);
}

void index_add(const IndexedRows& s) {
  int64_t padded = 1;
  while (padded < s.count) padded *= 2;
  const Scratch scratch(static_cast<size_t>(padded) * sizeof(SortPair));
  SortPair* pairs = scratch.as<SortPair>();
  launch(make_pairs, grid_for(padded, kThreads), dim3(kThreads), 0, s.index, s.count, padded,
         pairs);
  sort_rows(pairs, 1, padded);
  const dim3 grid(static_cast<unsigned>(s.count),
                  static_cast<unsigned>(min_of(ceil_div(s.inner, kThreads), 1024)),
                  static_cast<unsigned>(1));
  const bool floating = is_floating(s.dtype);
  const int64_t item = static_cast<int64_t>(item_size(s.dtype));
  // A grid has at most 65535 blocks in its third dimension.
  for (int64_t first = 0; first < s.outer; first += 65535) {
    dim3 part = grid;
    part.z = static_cast<unsigned>(min_of(65535, s.outer - first));
    const char* source =
        static_cast<const char*>(s.source) + first * s.source_rows * s.inner * item;
    char* target = static_cast<char*>(s.target) + first * s.target_rows * s.inner * item;
    const auto kernel = floating ? add_runs<float, double> : add_runs<int64_t, int64_t>;
    launch(kernel, part, dim3(kThreads), 0, pairs, s.count, source, target, s.dtype, s.inner,
           s.source_rows, s.target_rows);
  }
}

}  // namespace fms_accel::cuda
