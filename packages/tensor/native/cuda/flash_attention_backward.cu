// Gradients of attention: scores are computed again from q, k and the log-sum-exp of forward (Dao
// et al., "FlashAttention", 2022, section 3.1). One kernel has a block for 64 queries and sums
// their gradient over keys, another has a block for 64 keys and sums theirs over queries and over
// the heads that share them. No sum crosses blocks, so the order of every sum is fixed.
#include "cuda/flash_attention.h"
#include "cuda/flash_tiles.h"
#include "cuda/kernel_sources.h"
#include "cuda/reduction.h"

namespace fms_accel::cuda {
namespace {

constexpr int kRows = 64;  // of a block, 16 a warp

// deltas [batch, heads, queries] = out · gradient of out: a warp for each row.
__global__ void __launch_bounds__(kFlashThreads)
    join_rows(AttentionArguments p, int64_t rows, float* deltas) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kFlashThreads / 32) +
                      static_cast<int64_t>(threadIdx.x / 32);
  if (row >= rows) return;
  const int64_t query = row % p.queries, head = row / p.queries % p.heads,
                batch = row / p.queries / p.heads;
  const auto at = [&](const AttentionTensor& x) {
    return batch * x.batch_stride + head * x.head_stride + query * x.token_stride;
  };
  const int64_t out_at = at(p.out), gradient_at = at(p.out_gradient);
  float sum = 0;
  for (int64_t d = threadIdx.x % 32; d < p.value_dim; d += 32) {
    sum += load<float>(p.out.data, p.out.dtype, out_at + d) *
           load<float>(p.out_gradient.data, p.out_gradient.dtype, gradient_at + d);
  }
  sum = warp_join<Sum<float>>(sum);
  if (threadIdx.x % 32 == 0) deltas[row] = sum;
}

// A score's weight, and in place of the gradient of the weight that of q · k.
__device__ __forceinline__ float weigh(const AttentionArguments& p, bool is_seen, float product,
                                       float lse, float delta, float* slope) {
  const float score = is_seen ? score_of(p, product) : -infinity();
  const float weight = exp2f((score - lse) * kLog2E);
  float gradient = weight * (*slope - delta) * p.scale;
  if (p.soft_cap > 0) {
    const float capped = score / p.soft_cap;
    gradient = weight > 0 ? gradient * (1.0f - capped * capped) : 0.0f;
  }
  *slope = gradient;
  return weight;
}

template <int Dim>
__global__ void __launch_bounds__(kFlashThreads)
    gradients_of_queries(AttentionArguments p, const float* deltas) {
  constexpr int kKeys = 64, kTile = 64 * kTileStride<Dim>;
  DYNAMIC_SHARED(uint16_t, shared);
  uint16_t *const q_tile = shared, *const g_tile = q_tile + kTile, *const k_tile = g_tile + kTile,
                  *const v_tile = k_tile + kTile;
  const int64_t first = static_cast<int64_t>(gridDim.x - 1 - blockIdx.x) * kRows;
  const int64_t head = blockIdx.y, batch = blockIdx.z, kv_head = head / (p.heads / p.kv_heads);
  const int warp = static_cast<int>(threadIdx.x) / 32, l = static_cast<int>(threadIdx.x) % 32;
  const HeadRows k = head_rows(p.k, batch, kv_head, p.keys, p.head_dim),
                 v = head_rows(p.v, batch, kv_head, p.keys, p.value_dim);
  const int64_t begin = keys_of_row(p, first).begin / kKeys * kKeys,
                end = keys_of_row(p, min_of(first + kRows, p.queries) - 1).end;
  float lse[2], delta[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t query = first + warp * 16 + l / 4 + 8 * half,
                  at = (batch * p.heads + head) * p.queries + query;
    lse[half] = query < p.queries ? p.lse[at] : infinity();
    delta[half] = query < p.queries ? deltas[at] : 0.0f;
  }
  float sums[Dim / 8][4];
  clear(sums);
  load_tile<kRows, Dim>(q_tile, head_rows(p.q, batch, head, p.queries, p.head_dim), first);
  load_tile<kRows, Dim>(g_tile, head_rows(p.out_gradient, batch, head, p.queries, p.value_dim),
                        first);
  for (int64_t key = begin; key < end; key += kKeys) {
    __syncthreads();  // the tiles before have been read
    load_tile<kKeys, Dim>(k_tile, k, key);
    load_tile<kKeys, Dim>(v_tile, v, key);
    copy_async_commit();
    copy_async_wait_all();
    __syncthreads();
    float products[kKeys / 8][4], slopes[kKeys / 8][4];
    clear(products);
    clear(slopes);
    const int own = warp * 16 * kTileStride<Dim>;
    multiply_rows<Dim, kKeys>(products, q_tile + own, k_tile);
    multiply_rows<Dim, kKeys>(slopes, g_tile + own, v_tile);
    const bool is_whole = sees_all(p, first, kRows, key, kKeys);
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t query = first + warp * 16 + l / 4 + e / 2 * 8,
                      column = key + j * 8 + l % 4 * 2 + e % 2;
        const bool is_seen = is_whole || (query < p.queries && is_visible(p, batch, query, column));
        weigh(p, is_seen, products[j][e], lse[e / 2], delta[e / 2], &slopes[j][e]);
      }
    }
    multiply_weights<Dim, kKeys>(sums, slopes, k_tile);
  }
  copy_async_commit();
  copy_async_wait_all();
  const float ones[2] = {1.0f, 1.0f};
  store_rows<Dim>(p.q_gradient, batch, head, p.queries, p.head_dim, first + warp * 16, sums, ones);
}

// Queries at a time: as many as registers hold beside the sums of keys and values.
template <int Dim>
constexpr int kQueriesOfPass = Dim <= 64 ? 64 : 32;

template <int Dim>
__global__ void __launch_bounds__(kFlashThreads)
    gradients_of_keys(AttentionArguments p, const float* deltas) {
  constexpr int kQueries = kQueriesOfPass<Dim>;
  DYNAMIC_SHARED(uint16_t, shared);
  uint16_t *const k_tile = shared, *const v_tile = k_tile + kRows * kTileStride<Dim>,
                  *const q_tile = v_tile + kRows * kTileStride<Dim>,
                  *const g_tile = q_tile + kQueries * kTileStride<Dim>;
  SHARED(lse, float[kQueries]);
  SHARED(delta, float[kQueries]);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kRows, last = first + kRows - 1;
  const int64_t kv_head = blockIdx.y, batch = blockIdx.z, group = p.heads / p.kv_heads;
  const int warp = static_cast<int>(threadIdx.x) / 32, l = static_cast<int>(threadIdx.x) % 32;
  // Query i sees key j at most where j - offset <= i < j - offset + window.
  const int64_t offset = p.keys - p.queries;
  int64_t begin = p.causal ? max_of(0, first - offset) : 0, end = p.queries;
  if (p.window > 0) end = min_of(end, last - offset + p.window);
  begin = begin / kQueries * kQueries;
  float k_sums[Dim / 8][4], v_sums[Dim / 8][4];
  clear(k_sums);
  clear(v_sums);
  load_tile<kRows, Dim>(k_tile, head_rows(p.k, batch, kv_head, p.keys, p.head_dim), first);
  load_tile<kRows, Dim>(v_tile, head_rows(p.v, batch, kv_head, p.keys, p.value_dim), first);
  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    const HeadRows q = head_rows(p.q, batch, head, p.queries, p.head_dim),
                   g = head_rows(p.out_gradient, batch, head, p.queries, p.value_dim);
    const int64_t rows = (batch * p.heads + head) * p.queries;
    for (int64_t query = begin; query < end; query += kQueries) {
      __syncthreads();  // the tiles before have been read
      load_tile<kQueries, Dim>(q_tile, q, query);
      load_tile<kQueries, Dim>(g_tile, g, query);
      copy_async_commit();
      if (threadIdx.x < kQueries) {
        const int64_t own = query + static_cast<int64_t>(threadIdx.x);
        lse[threadIdx.x] = own < p.queries ? p.lse[rows + own] : infinity();
        delta[threadIdx.x] = own < p.queries ? deltas[rows + own] : 0.0f;
      }
      copy_async_wait_all();
      __syncthreads();
      float weights[kQueries / 8][4], slopes[kQueries / 8][4];
      clear(weights);
      clear(slopes);
      const int own = warp * 16 * kTileStride<Dim>;
      multiply_rows<Dim, kQueries>(weights, k_tile + own, q_tile);
      multiply_rows<Dim, kQueries>(slopes, v_tile + own, g_tile);
      const bool is_whole = sees_all(p, query, kQueries, first, kRows);
#pragma unroll
      for (int j = 0; j < kQueries / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int column = j * 8 + l % 4 * 2 + e % 2;
          const int64_t key = first + warp * 16 + l / 4 + e / 2 * 8;
          const bool is_seen = is_whole || (query + column < p.queries && key < p.keys &&
                                            is_visible(p, batch, query + column, key));
          weights[j][e] =
              weigh(p, is_seen, weights[j][e], lse[column], delta[column], &slopes[j][e]);
        }
      }
      multiply_weights<Dim, kQueries>(v_sums, weights, g_tile);
      multiply_weights<Dim, kQueries>(k_sums, slopes, q_tile);
    }
  }
  copy_async_commit();
  copy_async_wait_all();
  const float ones[2] = {1.0f, 1.0f};
  store_rows<Dim>(p.k_gradient, batch, kv_head, p.keys, p.head_dim, first + warp * 16, k_sums,
                  ones);
  store_rows<Dim>(p.v_gradient, batch, kv_head, p.keys, p.value_dim, first + warp * 16, v_sums,
                  ones);
}

template <int Dim>
void launch_backward(const AttentionArguments& p, const float* deltas) {
  constexpr size_t kRowBytes = kTileStride<Dim> * sizeof(uint16_t);
  const auto grid = [&](int64_t tokens, int64_t heads) {
    return dim3(static_cast<unsigned>(ceil_div(tokens, kRows)), static_cast<unsigned>(heads),
                static_cast<unsigned>(p.batch));
  };
  if (p.queries > 0) {
    launch(gradients_of_queries<Dim>, grid(p.queries, p.heads), dim3(kFlashThreads),
           4 * kRows * kRowBytes, p, deltas);
  }
  if (p.keys > 0) {
    launch(gradients_of_keys<Dim>, grid(p.keys, p.kv_heads), dim3(kFlashThreads),
           2 * (kRows + kQueriesOfPass<Dim>)*kRowBytes, p, deltas);
  }
}

}  // namespace

void flash_attention_backward(const AttentionArguments& p) {
  const int64_t rows = p.batch * p.heads * p.queries;
  const Scratch scratch(static_cast<size_t>(rows) * sizeof(float));
  float* deltas = scratch.as<float>();
  if (rows > 0) {
    launch(join_rows, grid_for(rows, kFlashThreads / 32, INT32_MAX), dim3(kFlashThreads), 0, p,
           rows, deltas);
  }
  max_of(p.head_dim, p.value_dim) <= 64 ? launch_backward<64>(p, deltas)
                                        : launch_backward<128>(p, deltas);
}

}  // namespace fms_accel::cuda
