// Attention for all that flash_attention.cu does not take: products in float32 (operands of any
// dtype), and heads of any width, also in bfloat16. The same passes over tiles of 64 x 64 scores
// with a running maximum, by fused multiply-adds (no TF32): 16 x 16 threads, 4 x 4 scores each.
// Where results are wider than a block's columns, more blocks compute the same scores. No sum
// crosses blocks, and long ones are summed by parts, which keeps their rounding small.
#include "cuda/flash_attention.h"
#include "cuda/flash_tiles.h"
#include "cuda/kernel_sources.h"
#include "engine/error.h"

namespace fms_accel::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRows = 64;   // of a tile of scores, and its columns
constexpr int kDepth = 32;  // columns of heads in shared memory at a time
constexpr int kStep = 16;   // tokens whose values are

// What a block has in shared memory. A thread's rows and columns are 16 apart.
template <int Columns>
struct Tiles {
  float a[kRows][kDepth + 1], b[kRows][kDepth + 1];
  float weights[kRows][kRows + 1];
  float values[kStep][Columns];
};

// A block computes columns [column, column + Columns) of tokens [first, first + kRows) of a head.
struct Block {
  int64_t first, head, batch, column;
};
template <int Columns>
__device__ __forceinline__ Block block_of(int64_t tokens, int64_t heads, int64_t width) {
  const int64_t tiles = (tokens + kRows - 1) / kRows, parts = (width + Columns - 1) / Columns;
  const int64_t block = blockIdx.x, tile = block / parts;
  // The last queries see most keys where attention is causal: they begin first.
  return {(tiles - 1 - tile % tiles) * kRows, tile / tiles % heads, tile / tiles / heads,
          block % parts * Columns};
}

// Tokens of a head from `first` on and its columns from `column` on; zeros where there are none.
template <int Tokens, int Width, int Stride>
__device__ __forceinline__ void load_columns(float (&tile)[Tokens][Stride], const HeadRows& x,
                                             int64_t first, int64_t column, bool rounds) {
  for (int i = static_cast<int>(threadIdx.x); i < Tokens * Width; i += kThreads) {
    const int row = i / Width, own = i % Width;
    const bool is_inside = first + row < x.tokens && column + own < x.dim;
    const float value =
        is_inside
            ? load<float>(x.data, x.dtype, x.base + (first + row) * x.token_stride + column + own)
            : 0.0f;
    tile[row][own] = rounds ? rounded(DType::kBFloat16, value) : value;
  }
}

// to = tokens of x from `row` on · tokens of y from `column` on.
template <int Columns>
__device__ __forceinline__ void multiply_heads(float (&to)[4][4], Tiles<Columns>& tiles,
                                               const HeadRows& x, int64_t row, const HeadRows& y,
                                               int64_t column, bool rounds) {
  const int own_row = static_cast<int>(threadIdx.x) / 16,
            own_column = static_cast<int>(threadIdx.x) % 16;
  clear(to);
  for (int d = 0; d < x.dim; d += kDepth) {
    load_columns<kRows, kDepth>(tiles.a, x, row, d, rounds);
    load_columns<kRows, kDepth>(tiles.b, y, column, d, rounds);
    __syncthreads();
    float sums[4][4];
    clear(sums);
    const int width = x.dim - d < kDepth ? x.dim - d : kDepth;
    for (int k = 0; k < width; ++k) {
      float own[4], other[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        own[i] = tiles.a[own_row + 16 * i][k];
        other[i] = tiles.b[own_column + 16 * i][k];
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] += own[i] * other[j];
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) to[i][j] += sums[i][j];
    }
    __syncthreads();  // the tiles have been read
  }
}

// sums += weights · tokens of x from `first` on, columns from `column` on. Weights of all threads
// are put into the tile first; it may be written again afterwards.
template <int Columns>
__device__ __forceinline__ void add_weighted(float (&sums)[4][Columns / 16], Tiles<Columns>& tiles,
                                             const float (&weights)[4][4], const HeadRows& x,
                                             int64_t first, int64_t column, bool rounds) {
  const int own_row = static_cast<int>(threadIdx.x) / 16,
            own_column = static_cast<int>(threadIdx.x) % 16;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      tiles.weights[own_row + 16 * i][own_column + 16 * j] =
          rounds ? rounded(DType::kBFloat16, weights[i][j]) : weights[i][j];
    }
  }
  float own[4][Columns / 16];
  clear(own);
  for (int token = 0; token < kRows && first + token < x.tokens; token += kStep) {
    load_columns<kStep, Columns>(tiles.values, x, first + token, column, rounds);
    __syncthreads();
    for (int k = 0; k < kStep; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float weight = tiles.weights[own_row + 16 * i][token + k];
#pragma unroll
        for (int j = 0; j < Columns / 16; ++j)
          own[i][j] += weight * tiles.values[k][own_column + 16 * j];
      }
    }
    __syncthreads();  // weights and values have been read
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < Columns / 16; ++j) sums[i][j] += own[i][j];
  }
}

template <int Columns>
__device__ __forceinline__ void store_columns(const AttentionTensor& x, const Block& block,
                                              int64_t tokens, int64_t width,
                                              const float (&sums)[4][Columns / 16],
                                              const float (&factors)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t token = block.first + threadIdx.x / 16 + 16 * i;
    if (token >= tokens) continue;
    const int64_t at =
        block.batch * x.batch_stride + block.head * x.head_stride + token * x.token_stride;
#pragma unroll
    for (int j = 0; j < Columns / 16; ++j) {
      const int64_t column = block.column + threadIdx.x % 16 + 16 * j;
      if (column < width) store<float>(x.data, x.dtype, at + column, sums[i][j] * factors[i]);
    }
  }
}

// The join over the 16 threads that share rows.
template <class Join>
__device__ __forceinline__ float row_join(float value, Join join) {
#pragma unroll
  for (int distance = 8; distance > 0; distance /= 2)
    value = join(value, __shfl_xor_sync(kFullMask, value, distance));
  return value;
}

template <int Columns>
__global__ void __launch_bounds__(kThreads, 1) attend(AttentionArguments p) {
  SHARED(tiles, Tiles<Columns>);
  const Block block = block_of<Columns>(p.queries, p.heads, p.value_dim);
  const int64_t first = block.first, kv_head = block.head / (p.heads / p.kv_heads);
  const HeadRows q = head_rows(p.q, block.batch, block.head, p.queries, p.head_dim),
                 k = head_rows(p.k, block.batch, kv_head, p.keys, p.head_dim),
                 v = head_rows(p.v, block.batch, kv_head, p.keys, p.value_dim);
  const bool rounds = p.compute_bfloat16;
  const int64_t begin = keys_of_row(p, first).begin / kRows * kRows,
                end = keys_of_row(p, min_of(first + kRows, p.queries) - 1).end;
  float out[4][Columns / 16], largest[4], sums[4];
  clear(out);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    largest[i] = -infinity();
    sums[i] = 0.0f;
  }
  for (int64_t key = begin; key < end; key += kRows) {
    float weights[4][4];
    multiply_heads(weights, tiles, q, first, k, key, rounds);
    const bool is_whole = sees_all(p, first, kRows, key, kRows);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t query = first + threadIdx.x / 16 + 16 * i;
      float own = largest[i];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int64_t column = key + threadIdx.x % 16 + 16 * j;
        const bool is_seen =
            is_whole || (query < p.queries && is_visible(p, block.batch, query, column));
        weights[i][j] = is_seen ? score_of(p, weights[i][j]) : -infinity();
        own = fmaxf(own, weights[i][j]);
      }
      own = row_join(own, [](float a, float b) { return fmaxf(a, b); });
      const float base = own == -infinity() ? 0.0f : own, factor = expf(largest[i] - base);
      largest[i] = own;
      sums[i] *= factor;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        weights[i][j] = expf(weights[i][j] - base);
        sums[i] += weights[i][j];
      }
#pragma unroll
      for (int j = 0; j < Columns / 16; ++j) out[i][j] *= factor;
    }
    add_weighted<Columns>(out, tiles, weights, v, key, block.column, rounds);
  }
  float factors[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float sum = row_join(sums[i], [](float a, float b) { return a + b; });
    factors[i] = sum == 0.0f ? 0.0f : 1.0f / sum;
    const int64_t query = first + threadIdx.x / 16 + 16 * i;
    if (block.column == 0 && threadIdx.x % 16 == 0 && query < p.queries) {
      p.lse[(block.batch * p.heads + block.head) * p.queries + query] =
          sum == 0.0f ? infinity() : largest[i] + logf(sum);
    }
  }
  store_columns<Columns>(p.out, block, p.queries, p.value_dim, out, factors);
}

// In place of scores' products with keys and of the gradients of weights: the weights, and the
// gradients of q · k. Queries are the tile's rows where ByQueries, else its columns.
template <bool ByQueries>
__device__ __forceinline__ void weigh_tile(const AttentionArguments& p, const float* deltas,
                                           int64_t batch, int64_t head, int64_t first_query,
                                           int64_t first_key, float (&weights)[4][4],
                                           float (&slopes)[4][4]) {
  const bool is_whole = sees_all(p, first_query, kRows, first_key, kRows);
  const int64_t rows = (batch * p.heads + head) * p.queries;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t row = threadIdx.x / 16 + 16 * i, column = threadIdx.x % 16 + 16 * j;
      const int64_t query = first_query + (ByQueries ? row : column),
                    key = first_key + (ByQueries ? column : row);
      const bool is_seen = is_whole || (query < p.queries && is_visible(p, batch, query, key));
      const float score = is_seen ? score_of(p, weights[i][j]) : 0.0f;
      const float weight = is_seen ? expf(score - p.lse[rows + query]) : 0.0f;
      const float delta = is_seen ? deltas[rows + query] : 0.0f;
      weights[i][j] = weight;
      slopes[i][j] = score_gradient_of(p, score, weight, slopes[i][j] - delta);
    }
  }
}

template <int Columns>
__global__ void __launch_bounds__(kThreads, 1)
    gradients_of_queries(AttentionArguments p, const float* deltas) {
  SHARED(tiles, Tiles<Columns>);
  const Block block = block_of<Columns>(p.queries, p.heads, p.head_dim);
  const int64_t first = block.first, kv_head = block.head / (p.heads / p.kv_heads);
  const HeadRows q = head_rows(p.q, block.batch, block.head, p.queries, p.head_dim),
                 g = head_rows(p.out_gradient, block.batch, block.head, p.queries, p.value_dim),
                 k = head_rows(p.k, block.batch, kv_head, p.keys, p.head_dim),
                 v = head_rows(p.v, block.batch, kv_head, p.keys, p.value_dim);
  const bool rounds = p.compute_bfloat16;
  const int64_t begin = keys_of_row(p, first).begin / kRows * kRows,
                end = keys_of_row(p, min_of(first + kRows, p.queries) - 1).end;
  float sums[4][Columns / 16];
  clear(sums);
  for (int64_t key = begin; key < end; key += kRows) {
    float weights[4][4], slopes[4][4];
    multiply_heads(weights, tiles, q, first, k, key, rounds);
    multiply_heads(slopes, tiles, g, first, v, key, rounds);
    weigh_tile<true>(p, deltas, block.batch, block.head, first, key, weights, slopes);
    add_weighted<Columns>(sums, tiles, slopes, k, key, block.column, rounds);
  }
  const float ones[4] = {1.0f, 1.0f, 1.0f, 1.0f};
  store_columns<Columns>(p.q_gradient, block, p.queries, p.head_dim, sums, ones);
}

// Columns of both gradients: those behind the end of one are not stored.
template <int Columns>
__global__ void __launch_bounds__(kThreads, 1)
    gradients_of_keys(AttentionArguments p, const float* deltas) {
  SHARED(tiles, Tiles<Columns>);
  const Block block = block_of<Columns>(p.keys, p.kv_heads, max_of(p.head_dim, p.value_dim));
  const int64_t first = block.first, group = p.heads / p.kv_heads;
  const HeadRows k = head_rows(p.k, block.batch, block.head, p.keys, p.head_dim),
                 v = head_rows(p.v, block.batch, block.head, p.keys, p.value_dim);
  const bool rounds = p.compute_bfloat16;
  const TokenRange queries = queries_of_keys(p, first, kRows);
  float k_sums[4][Columns / 16], v_sums[4][Columns / 16];
  clear(k_sums);
  clear(v_sums);
  for (int64_t head = block.head * group; head < (block.head + 1) * group; ++head) {
    const HeadRows q = head_rows(p.q, block.batch, head, p.queries, p.head_dim),
                   g = head_rows(p.out_gradient, block.batch, head, p.queries, p.value_dim);
    for (int64_t query = queries.begin / kRows * kRows; query < queries.end; query += kRows) {
      float weights[4][4], slopes[4][4];
      multiply_heads(weights, tiles, k, first, q, query, rounds);
      multiply_heads(slopes, tiles, v, first, g, query, rounds);
      weigh_tile<false>(p, deltas, block.batch, head, query, first, weights, slopes);
      add_weighted<Columns>(v_sums, tiles, weights, g, query, block.column, rounds);
      add_weighted<Columns>(k_sums, tiles, slopes, q, query, block.column, rounds);
    }
  }
  const float ones[4] = {1.0f, 1.0f, 1.0f, 1.0f};
  store_columns<Columns>(p.k_gradient, block, p.keys, p.head_dim, k_sums, ones);
  store_columns<Columns>(p.v_gradient, block, p.keys, p.value_dim, v_sums, ones);
}

constexpr int kNarrow = 64, kWide = 128;

// Blocks for `tokens` of `heads`, and results of `width`.
dim3 grid_of(const AttentionArguments& p, int64_t tokens, int64_t heads, int64_t width) {
  const int64_t blocks = p.batch * heads * ceil_div(tokens, kRows) *
                         ceil_div(width, width <= kNarrow ? kNarrow : kWide);
  check(blocks <= INT32_MAX, "scaledDotProductAttention: ", tokens, " tokens of ", heads,
        " heads in ", p.batch, " sequences are more than cuda takes at once");
  return dim3(static_cast<unsigned>(blocks));
}

}  // namespace

void float_attention_forward(const AttentionArguments& p) {
  launch(p.value_dim <= kNarrow ? attend<kNarrow> : attend<kWide>,
         grid_of(p, p.queries, p.heads, p.value_dim), dim3(kThreads), 0, p);
}

void float_attention_backward(const AttentionArguments& p, const float* deltas) {
  if (p.queries > 0) {
    launch(p.head_dim <= kNarrow ? gradients_of_queries<kNarrow> : gradients_of_queries<kWide>,
           grid_of(p, p.queries, p.heads, p.head_dim), dim3(kThreads), 0, p, deltas);
  }
  const int64_t width = max_of(p.head_dim, p.value_dim);
  if (p.keys > 0) {
    launch(width <= kNarrow ? gradients_of_keys<kNarrow> : gradients_of_keys<kWide>,
           grid_of(p, p.keys, p.kv_heads, width), dim3(kThreads), 0, p, deltas);
  }
}

}  // namespace fms_accel::cuda
