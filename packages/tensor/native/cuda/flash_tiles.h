// Tiles of heads in shared memory, products of warps with them, and what a query sees: shared by
// the kernels of attention.
#pragma once
#include "cpu/attention.h"
#include "cuda/elements.h"
#include "fms_accel/cuda/tensor_core.h"

namespace fms_accel::cuda {

constexpr int kFlashThreads = 128;
constexpr float kLog2E = 1.44269504088896341f;

struct TokenRange {
  int64_t begin, end;
};
__host__ __device__ __forceinline__ TokenRange keys_of_row(const AttentionArguments& p, int64_t i) {
  const int64_t position = i + p.keys - p.queries;
  TokenRange range{0, p.keys};
  if (p.causal) range.end = max_of(0, min_of(p.keys, position + 1));
  if (p.window > 0) range.begin = min_of(range.end, max_of(0, position - p.window + 1));
  return range;
}

__device__ __forceinline__ bool is_visible(const AttentionArguments& p, int64_t batch,
                                           int64_t query, int64_t key) {
  const TokenRange range = keys_of_row(p, query);
  if (key < range.begin || key >= range.end) return false;
  if (p.key_mask != nullptr && p.key_mask[batch * p.keys + key] == 0) return false;
  return p.query_segments == nullptr ||
         p.query_segments[batch * p.queries + query] == p.key_segments[batch * p.keys + key];
}
// Whether all of `queries` from `query` on see all of `keys` from `key` on.
__device__ __forceinline__ bool sees_all(const AttentionArguments& p, int64_t query,
                                         int64_t queries, int64_t key, int64_t keys) {
  return p.key_mask == nullptr && p.query_segments == nullptr && query + queries <= p.queries &&
         keys_of_row(p, query + queries - 1).begin <= key &&
         keys_of_row(p, query).end >= key + keys;
}

// The score of a visible key, from q · k.
__device__ __forceinline__ float score_of(const AttentionArguments& p, float product) {
  const float score = product * p.scale;
  return p.soft_cap > 0 ? p.soft_cap * tanhf(score / p.soft_cap) : score;
}

// The gradient of q · k, from what the score's weight is and what its gradient exceeds delta by.
__device__ __forceinline__ float score_gradient_of(const AttentionArguments& p, float score,
                                                   float weight, float excess) {
  const float gradient = weight * excess * p.scale;
  if (!(p.soft_cap > 0)) return gradient;
  const float capped = score / p.soft_cap;
  return weight > 0 ? gradient * (1.0f - capped * capped) : 0.0f;
}

// Queries that may see keys [first, first + keys).
__device__ __forceinline__ TokenRange queries_of_keys(const AttentionArguments& p, int64_t first,
                                                      int64_t keys) {
  // Query i sees key j at most where j - offset <= i < j - offset + window.
  const int64_t offset = p.keys - p.queries;
  TokenRange range{p.causal ? max_of(0, first - offset) : 0, p.queries};
  if (p.window > 0) range.end = min_of(range.end, first + keys - 1 - offset + p.window);
  return range;
}

// The tokens of one head.
struct HeadRows {
  const void* data;
  DType dtype;
  int64_t base, token_stride, tokens;
  int dim;
  bool is_copied;  // as it lies: bfloat16, whole rows of 16 bytes
};
__device__ __forceinline__ HeadRows head_rows(const AttentionTensor& x, int64_t batch, int64_t head,
                                              int64_t tokens, int64_t dim) {
  const int64_t base = batch * x.batch_stride + head * x.head_stride;
  const bool is_copied = x.dtype == DType::kBFloat16 && dim % 8 == 0 && base % 8 == 0 &&
                         x.token_stride % 8 == 0 && reinterpret_cast<uintptr_t>(x.data) % 16 == 0;
  return {x.data, x.dtype, base, x.token_stride, tokens, static_cast<int>(dim), is_copied};
}

// A tile holds rows of Dim bfloat16 values; the padding keeps the rows of an ldmatrix on different
// banks.
template <int Dim>
constexpr int kTileStride = Dim + 8;

// `Rows` tokens from `first` on; zeros where there is no token and behind the end of a head. Ends
// with copy_async_commit, copy_async_wait and a barrier, which are the caller's.
template <int Rows, int Dim>
__device__ __forceinline__ void load_tile(uint16_t* tile, const HeadRows& x, int64_t first) {
  constexpr int kEights = Dim / 8;
  for (int i = static_cast<int>(threadIdx.x); i < Rows * kEights; i += kFlashThreads) {
    const int row = i / kEights, column = i % kEights * 8;
    uint16_t* to = tile + row * kTileStride<Dim> + column;
    const bool is_inside = first + row < x.tokens && column < x.dim;
    const int64_t at = x.base + (first + row) * x.token_stride + column;
    if (x.is_copied) {
      copy_async_16(to, static_cast<const uint16_t*>(x.data) + (is_inside ? at : 0), is_inside);
      continue;
    }
    uint32_t words[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      float pair[2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int own = 2 * e + h;
        pair[h] = is_inside && column + own < x.dim ? load<float>(x.data, x.dtype, at + own) : 0.0f;
      }
      words[e] = pack_bf16(pair[0], pair[1]);
    }
    *reinterpret_cast<uint4*>(to) = uint4{words[0], words[1], words[2], words[3]};
  }
}

template <int Rows, int Columns>
__device__ __forceinline__ void clear(float (&sums)[Rows][Columns]) {
#pragma unroll
  for (int i = 0; i < Rows; ++i) {
#pragma unroll
    for (int j = 0; j < Columns; ++j) sums[i][j] = 0.0f;
  }
}

// sums [16, Columns] += a · b^T for 16 rows of a tile and `Columns` rows of another: a warp.
template <int Dim, int Columns>
__device__ __forceinline__ void multiply_rows(float (&sums)[Columns / 8][4], const uint16_t* a,
                                              const uint16_t* b) {
  constexpr int kStride = kTileStride<Dim>;
  const int l = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int step = 0; step < Dim; step += 16) {
    uint32_t own[4];
    ldmatrix_x4(own, a + l % 16 * kStride + step + l / 16 * 8);
#pragma unroll
    for (int j = 0; j < Columns / 16; ++j) {
      uint32_t other[4];
      ldmatrix_x4(other, b + (j * 16 + l / 16 * 8 + l % 8) * kStride + step + l / 8 % 2 * 8);
      mma_bf16(sums[2 * j], own, other[0], other[1]);
      mma_bf16(sums[2 * j + 1], own, other[2], other[3]);
    }
  }
}

// sums [16, columns] += weights · b, with weights [16, Rows] as multiply_rows leaves them, rounded
// to bfloat16, and b so many columns of `Rows` rows of a tile: a warp.
template <int Dim, int Rows, int Eights>
__device__ __forceinline__ void multiply_weights(float (&sums)[Eights][4],
                                                 const float (&weights)[Rows / 8][4],
                                                 const uint16_t* b) {
  const int l = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int step = 0; step < Rows; step += 16) {
    uint32_t own[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float* pair = &weights[step / 8 + e / 2][e % 2 * 2];
      own[e] = pack_bf16(pair[0], pair[1]);
    }
#pragma unroll
    for (int j = 0; j < Eights / 2; ++j) {
      uint32_t other[4];
      ldmatrix_x4_transposed(other, b + (step + l % 16) * kTileStride<Dim> + j * 16 + l / 16 * 8);
      mma_bf16(sums[2 * j], own, other[0], other[1]);
      mma_bf16(sums[2 * j + 1], own, other[2], other[3]);
    }
  }
}

// The warp's sums to tokens from `first` and columns from `column0` on, row r times factors[r / 8].
template <int Eights>
__device__ __forceinline__ void store_rows(const AttentionTensor& x, int64_t batch, int64_t head,
                                           int64_t tokens, int64_t dim, int64_t first, int column0,
                                           const float (&sums)[Eights][4],
                                           const float (&factors)[2]) {
  const int l = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t token = first + l / 4 + 8 * half;
    if (token >= tokens) continue;
    const int64_t at = batch * x.batch_stride + head * x.head_stride + token * x.token_stride;
#pragma unroll
    for (int j = 0; j < Eights; ++j) {
      const int column = column0 + j * 8 + l % 4 * 2;
      const float low = sums[j][2 * half] * factors[half],
                  high = sums[j][2 * half + 1] * factors[half];
      if (x.dtype == DType::kBFloat16 && column + 1 < dim && (at + column) % 2 == 0 &&
          reinterpret_cast<uintptr_t>(x.data) % 4 == 0) {
        *reinterpret_cast<uint32_t*>(static_cast<uint16_t*>(x.data) + at + column) =
            pack_bf16(low, high);
        continue;
      }
      if (column < dim) store<float>(x.data, x.dtype, at + column, low);
      if (column + 1 < dim) store<float>(x.data, x.dtype, at + column + 1, high);
    }
  }
}

}  // namespace fms_accel::cuda
