// Gradients of attention: scores are computed again from q, k and the log-sum-exp of forward (Dao
// et al., "FlashAttention", 2022, section 3.1). One kernel has a block for 64 queries and sums
// their gradient over keys, another has a block for 64 keys and sums theirs over queries and over
// the heads that share them. No sum crosses blocks, so the order of every sum is fixed.
#include "cuda/flash_attention.h"
#include "cuda/flash_tiles.h"
#include "cuda/kernel_sources.h"

namespace fms_accel::cuda {
namespace {

constexpr int kRows = 64;  // of a block, 16 a warp

// A score's weight, and in place of the gradient of the weight that of q · k.
__device__ __forceinline__ float weigh(const AttentionArguments& p, bool is_seen, float product,
                                       float lse, float delta, float* slope) {
  const float score = is_seen ? score_of(p, product) : -infinity();
  const float weight = exp2f((score - lse) * kLog2E);
  *slope = score_gradient_of(p, score, weight, *slope - delta);
  return weight;
}

// Tokens at a time: as many as registers and shared memory hold beside the sums.
template <int Dim>
constexpr int kKeysOfPass = Dim <= 128 ? 64 : 32;
template <int Dim>
constexpr int kQueriesOfPass = Dim <= 64    ? 64
                               : Dim <= 128 ? 32
                                            : 16;
// Columns of both gradients that a block sums; wide heads take several blocks, which compute the
// same scores.
template <int Dim>
constexpr int kColumnsOfPass = Dim <= 128 ? Dim : 128;

template <int Dim>
__global__ void __launch_bounds__(kFlashThreads)
    gradients_of_queries(AttentionArguments p, const float* deltas) {
  constexpr int kKeys = kKeysOfPass<Dim>, kTile = kRows * kTileStride<Dim>;
  DYNAMIC_SHARED(uint16_t, shared);
  uint16_t *const q_tile = shared, *const g_tile = q_tile + kTile, *const k_tile = g_tile + kTile,
                  *const v_tile = k_tile + kKeys * kTileStride<Dim>;
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
  store_rows(p.q_gradient, batch, head, p.queries, p.head_dim, first + warp * 16, 0, sums, ones);
}

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
  constexpr int kColumns = kColumnsOfPass<Dim>, kParts = Dim / kColumns;
  const int64_t first = static_cast<int64_t>(blockIdx.x / kParts) * kRows;
  const int column0 = static_cast<int>(blockIdx.x % kParts) * kColumns;
  const int64_t kv_head = blockIdx.y, batch = blockIdx.z, group = p.heads / p.kv_heads;
  const int warp = static_cast<int>(threadIdx.x) / 32, l = static_cast<int>(threadIdx.x) % 32;
  const TokenRange queries = queries_of_keys(p, first, kRows);
  float k_sums[kColumns / 8][4], v_sums[kColumns / 8][4];
  clear(k_sums);
  clear(v_sums);
  load_tile<kRows, Dim>(k_tile, head_rows(p.k, batch, kv_head, p.keys, p.head_dim), first);
  load_tile<kRows, Dim>(v_tile, head_rows(p.v, batch, kv_head, p.keys, p.value_dim), first);
  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    const HeadRows q = head_rows(p.q, batch, head, p.queries, p.head_dim),
                   g = head_rows(p.out_gradient, batch, head, p.queries, p.value_dim);
    const int64_t rows = (batch * p.heads + head) * p.queries;
    for (int64_t query = queries.begin / kQueries * kQueries; query < queries.end;
         query += kQueries) {
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
      multiply_weights<Dim, kQueries>(v_sums, weights, g_tile + column0);
      multiply_weights<Dim, kQueries>(k_sums, slopes, q_tile + column0);
    }
  }
  copy_async_commit();
  copy_async_wait_all();
  const float ones[2] = {1.0f, 1.0f};
  store_rows(p.k_gradient, batch, kv_head, p.keys, p.head_dim, first + warp * 16, column0, k_sums,
             ones);
  store_rows(p.v_gradient, batch, kv_head, p.keys, p.value_dim, first + warp * 16, column0, v_sums,
             ones);
}

template <int Dim>
void launch_backward(const AttentionArguments& p, const float* deltas) {
  constexpr size_t kRowBytes = kTileStride<Dim> * sizeof(uint16_t);
  constexpr int kParts = Dim / kColumnsOfPass<Dim>;
  const auto grid = [&](int64_t blocks, int64_t heads) {
    return dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(heads),
                static_cast<unsigned>(p.batch));
  };
  if (p.queries > 0) {
    launch(gradients_of_queries<Dim>, grid(ceil_div(p.queries, kRows), p.heads),
           dim3(kFlashThreads), 2 * (kRows + kKeysOfPass<Dim>)*kRowBytes, p, deltas);
  }
  if (p.keys > 0) {
    launch(gradients_of_keys<Dim>, grid(ceil_div(p.keys, kRows) * kParts, p.kv_heads),
           dim3(kFlashThreads), 2 * (kRows + kQueriesOfPass<Dim>)*kRowBytes, p, deltas);
  }
}

}  // namespace

void flash_attention_backward(const AttentionArguments& p, const float* deltas) {
  const int64_t dim = max_of(p.head_dim, p.value_dim);
  dim <= 64    ? launch_backward<64>(p, deltas)
  : dim <= 128 ? launch_backward<128>(p, deltas)
               : launch_backward<256>(p, deltas);
}

}  // namespace fms_accel::cuda
