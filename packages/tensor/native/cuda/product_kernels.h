// What the kernels of products share (matmul.cu, matmul_bf16.cu): their part of a launch, operands
// as lanes times k, and what becomes of a sum.
#pragma once
#include "cuda/elements.h"
#include "cuda/groups.h"
#include "cuda/product.h"

namespace fms_accel::cuda {

// What a kernel gets. `first` is the first matrix of its part of the batch; the result has
// `block_rows` x `block_columns` blocks, from block `first_block` of the grid's rows on.
struct Part {
  Product p;
  int64_t first;
  unsigned first_block, block_rows, block_columns;
  bool copies_tail;   // whether asynchronous copies bring the tail
  bool stores_fours;  // four neighbours in a row of C, at a column that is a multiple of four, are
                      // aligned

  __device__ __forceinline__ const Part& of_block() const { return *this; }
  __device__ __forceinline__ bool has_block() const {
    return blockIdx.x - first_block < block_rows * block_columns;
  }
};

// Products of groups of rows whose bounds only the device knows (GroupedMatmul). The groups'
// numbers and matrices are given by value, so that nothing is copied before a launch.
constexpr int kMostGroups = 128;
struct GroupedPart {
  Part common;
  const int64_t* offsets;
  int64_t rows, block_size;
  int count;
  bool sums_rows;
  GroupedMatmul::Group groups[kMostGroups];

  // The product of this block. With `sums_rows` row y of the grid is group y; else group g has the
  // rows of blocks from offsets[g] / block_size + g on, as many as it needs or one more.
  __device__ __forceinline__ Part of_block() const {
    Part part = common;
    Product& p = part.p;
    const auto begin_of = [&](int64_t number) { return max_of(0, min_of(offsets[number], rows)); };
    int at = static_cast<int>(blockIdx.y);
    if (!sums_rows) {
      const int64_t first = groups[0].number, before = begin_of(first) / block_size;
      const int64_t row = blockIdx.x / common.block_columns + before;
      int high = count - 1;
      for (at = 0; at < high;) {
        const int middle = (at + high + 1) / 2;
        if (begin_of(first + middle) / block_size + middle <= row)
          at = middle;
        else
          high = middle - 1;
      }
      part.first_block = static_cast<unsigned>(begin_of(first + at) / block_size + at - before) *
                         part.block_columns;
    }
    const int64_t begin = begin_of(groups[at].number),
                  length = max_of(0, begin_of(groups[at].number + 1) - begin);
    if (sums_rows) {
      p.a.data = moved(p.a, begin * p.a.column_stride);
      p.b.data = moved(p.b, begin * p.b.row_stride);
      p.c.data = groups[at].matrix;
      p.k = length;
    } else {
      p.a.data = moved(p.a, begin * p.a.row_stride);
      p.b.data = groups[at].matrix;
      p.c.data = moved(p.c, begin * p.c.row_stride);
      p.m = length;
      part.block_rows = static_cast<unsigned>((length + block_size - 1) / block_size);
    }
    return part;
  }

 private:
  static __device__ __forceinline__ const void* moved(const ProductOperand& x, int64_t elements) {
    return static_cast<const char*>(x.data) + elements * (x.dtype == DType::kFloat32 ? 4 : 2);
  }
};

// The block's place in the result. Blocks that run at the same time cover a rectangle rather than a
// row, so that they share what they read of both operands.
__device__ __forceinline__ void place_of_block(const Part& part, int64_t* row, int64_t* column) {
  constexpr unsigned kGroup = 8;  // rows of blocks
  const unsigned block = blockIdx.x - part.first_block;
  const unsigned group = block / (kGroup * part.block_columns),
                 within = block % (kGroup * part.block_columns), first = group * kGroup;
  const unsigned height = part.block_rows - first < kGroup ? part.block_rows - first : kGroup;
  *row = first + within % height;
  *column = within / height;
}

__device__ __forceinline__ int64_t base_of(const ProductOperand& x, int64_t outer, int64_t inner) {
  return outer * x.outer_stride + inner * x.inner_stride;
}

// Elements of operands, which are floating: fewer cases than load() and store() have, in loops that
// are unrolled many times.
__device__ __forceinline__ float load_floating(const void* data, DType dtype, int64_t i) {
  if (dtype == DType::kFloat32) return static_cast<const float*>(data)[i];
  const uint16_t bits = static_cast<const uint16_t*>(data)[i];
  return dtype == DType::kBFloat16 ? float_of_bf16(bits) : float_of_f16(bits);
}
__device__ __forceinline__ void store_floating(void* data, DType dtype, int64_t i, float value) {
  if (dtype == DType::kFloat32) {
    static_cast<float*>(data)[i] = value;
  } else {
    static_cast<uint16_t*>(data)[i] =
        dtype == DType::kBFloat16 ? bf16_of_float(value) : f16_of_float(value);
  }
}

// C = alpha * sum + beta * C + bias.
__device__ __forceinline__ void store_element(const Product& p, int64_t c_base, int64_t row,
                                              int64_t column, float sum) {
  const int64_t at = c_base + row * p.c.row_stride + column;
  float value = p.alpha * sum;
  if (p.beta != 0.0f) value += p.beta * load_floating(p.c.data, p.c.dtype, at);
  if (p.bias != nullptr) value += load_floating(p.bias, p.bias_dtype, column);
  store_floating(const_cast<void*>(p.c.data), p.c.dtype, at, value);
}

// One operand as lanes (rows of A, columns of B) times k.
struct Lanes {
  const void* data;
  DType dtype;
  int64_t base, lane_stride, k_stride, lanes, k;
  bool is_aligned;  // eight elements along the contiguous direction are one or two vector loads

  __device__ __forceinline__ float at(int64_t lane, int64_t step) const {
    if (lane >= lanes || step >= k) return 0.0f;
    return load_floating(data, dtype, base + lane * lane_stride + step * k_stride);
  }
};

__device__ __forceinline__ bool takes_vectors(const ProductOperand& x, int64_t base,
                                              int64_t other_stride) {
  const int64_t unit = x.dtype == DType::kFloat32 ? 4 : 8;
  return reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && base % unit == 0 &&
         other_stride % unit == 0;
}
// Section 0 is A · B, section 1 the tail.
__device__ __forceinline__ Lanes lanes_of_a(const Product& p, int section, int64_t outer,
                                            int64_t inner) {
  const ProductOperand& x = section == 0 ? p.a : p.a_tail;
  const int64_t base = base_of(x, outer, inner);
  const int64_t other = x.column_stride == 1 ? x.row_stride : x.column_stride;
  return {x.data,
          x.dtype,
          base,
          x.row_stride,
          x.column_stride,
          p.m,
          section == 0 ? p.k : p.tail_k,
          takes_vectors(x, base, other)};
}
__device__ __forceinline__ Lanes lanes_of_b(const Product& p, int section, int64_t outer,
                                            int64_t inner) {
  const ProductOperand& x = section == 0 ? p.b : p.b_tail;
  const int64_t base = base_of(x, outer, inner);
  const int64_t other = x.row_stride == 1 ? x.column_stride : x.row_stride;
  return {x.data,
          x.dtype,
          base,
          x.column_stride,
          x.row_stride,
          p.n,
          section == 0 ? p.k : p.tail_k,
          takes_vectors(x, base, other)};
}

// Whether the elements of a row lie together, rather than those of a column.
inline bool lies_by_rows(const ProductOperand& x) { return x.column_stride <= x.row_stride; }
// Whether every run of eight elements along the contiguous direction begins at 16 bytes.
inline bool takes_copies(const ProductOperand& x, bool by_rows) {
  const int64_t contiguous = by_rows ? x.column_stride : x.row_stride,
                other = by_rows ? x.row_stride : x.column_stride;
  return x.dtype == DType::kBFloat16 && reinterpret_cast<uintptr_t>(x.data) % 16 == 0 &&
         contiguous == 1 && other % 8 == 0 && x.outer_stride % 8 == 0 && x.inner_stride % 8 == 0;
}
// Whether blocks of 128 x 128 are enough to keep a device busy, and narrow results do not waste
// them.
inline bool is_large_product(const Product& p) {
  return p.m > 64 && p.n > 64 && ceil_div(p.m, 128) * ceil_div(p.n, 128) * p.outer * p.inner >= 64;
}
// Launches `kernel` for each matrix of the batch: blocks of `size` x `size` of the result.
void launch_product(void (*kernel)(Part), int64_t size, unsigned threads, size_t shared_bytes,
                    const Product& product, bool copies_tail = false);
// The product of each group; `common` is of all their rows.
void launch_groups(void (*kernel)(GroupedPart), int64_t size, unsigned threads, size_t shared_bytes,
                   const Product& common, const GroupedMatmul& grouped);
// Whether takes_copies() holds for an operand of every group.
bool takes_copies_of_groups(const Product& common, const GroupedMatmul& grouped, bool a_along_k,
                            bool b_along_k);

// matmul_bf16.cu: operands rounded to bfloat16, multiplied by tensor cores.
void multiply_bf16(const Product& product);
void multiply_groups_bf16(const Product& common, const GroupedMatmul& grouped, bool is_large);

}  // namespace fms_accel::cuda
