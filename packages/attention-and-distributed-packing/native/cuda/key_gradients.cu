// Gradients of keys and values: a block has keys of one sequence and sums over the queries that see
// them, of all heads that share the keys, so the order of every sum is fixed.
#include "cuda/attention.h"
#include "cuda/queue.h"
#include "cuda/tiles.h"

namespace fms_accel::cuda {
namespace {

template <class Step, int Dim, bool OfKeys, bool OfValues>
__global__ void __launch_bounds__(kThreads<Step, Dim>)
    gradients_of_keys(Attention a, Bounds bounds) {
  constexpr int kQueries = Step::template kBackwardQueries<Dim>, kRows = cuda::kRows<Step, Dim>;
  using Element = typename Step::Element;
  DYNAMIC_SHARED(Element, shared);
  Element *const k_tile = shared, *const v_tile = k_tile + kTile<Step, Dim, kRows>,
                 *const q_tile = v_tile + kTile<Step, Dim, kRows>,
                 *const g_tile = q_tile + kTile<Step, Dim, kQueries>;
  const int warp = static_cast<int>(threadIdx.x) / 32, l = static_cast<int>(threadIdx.x) % 32;
  float* const strip = reinterpret_cast<float*>(g_tile + kTile<Step, Dim, kQueries>) +
                       warp * Step::template kStrip<kQueries>;
  SHARED(lse, float[kQueries]);
  SHARED(delta, float[kQueries]);
  const Tokens tokens = tokens_of_block<kRows>(bounds);
  if (!tokens.exist) return;
  const int64_t first = tokens.first, length = tokens.length;
  const int64_t kv_head = blockIdx.y, group = a.heads / a.kv_heads;
  const int dims = padded(a.head_dim);
  const int64_t begin = queries_of(a, length, first).begin / kQueries * kQueries,
                end = queries_of(a, length, min_of(first + kRows, length) - 1).end;
  const bool has_rows = first + warp * 16 < length;
  float k_sums[Dim / 8][4], v_sums[Dim / 8][4];
  clear(k_sums);
  clear(v_sums);
  load_tile<Step, kRows, Dim>(k_tile, head_rows<Step>(a.k, tokens, kv_head, a.head_dim), first);
  load_tile<Step, kRows, Dim>(v_tile, head_rows<Step>(a.v, tokens, kv_head, a.head_dim), first);
  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    const HeadRows q = head_rows<Step>(a.q, tokens, head, a.head_dim),
                   g = head_rows<Step>(a.out_gradient, tokens, head, a.head_dim);
    for (int64_t query = begin; query < end; query += kQueries) {
      __syncthreads();  // the tiles before have been read
      load_tile<Step, kQueries, Dim>(q_tile, q, query);
      load_tile<Step, kQueries, Dim>(g_tile, g, query);
      copy_async_commit();
      if (threadIdx.x < kQueries) {
        const int64_t own = query + static_cast<int64_t>(threadIdx.x),
                      at = (tokens.begin + own) * a.heads + head;
        lse[threadIdx.x] = own < length ? a.lse[at] : infinity();
        delta[threadIdx.x] = own < length ? a.delta[at] : 0.0f;
      }
      copy_async_wait_all();
      __syncthreads();
      if (!has_rows) continue;
      float weights[kQueries / 8][4], slopes[kQueries / 8][4];
      clear(weights);
      clear(slopes);
      const int own = kTile<Step, Dim, 16> * warp;
      Step::template multiply_rows<Dim, kQueries>(weights, k_tile + own, q_tile, dims);
      if constexpr (OfKeys)
        Step::template multiply_rows<Dim, kQueries>(slopes, v_tile + own, g_tile, dims);
      const bool is_whole = sees_all(a, length, query, kQueries, first, kRows);
#pragma unroll
      for (int j = 0; j < kQueries / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int column = j * 8 + l % 4 * 2 + e % 2;
          const int64_t key = first + warp * 16 + l / 4 + e / 2 * 8;
          const float score = is_whole || is_visible(a, length, query + column, key)
                                  ? score_of(a, weights[j][e])
                                  : -infinity();
          weights[j][e] = weight_of(score, lse[column]);
          if constexpr (OfKeys)
            slopes[j][e] = slope_of(a, score, weights[j][e], slopes[j][e], delta[column]);
        }
      }
      if constexpr (OfValues)
        Step::template multiply_weights<Dim, kQueries>(v_sums, weights, g_tile, dims, strip);
      if constexpr (OfKeys)
        Step::template multiply_weights<Dim, kQueries>(k_sums, slopes, q_tile, dims, strip);
    }
  }
  if (!has_rows) return;
  const float ones[2] = {1.0f, 1.0f};
  if constexpr (OfKeys)
    store_rows<Dim>(a.k_gradient, tokens, kv_head, a.head_dim, first + warp * 16, k_sums, ones);
  if constexpr (OfValues)
    store_rows<Dim>(a.v_gradient, tokens, kv_head, a.head_dim, first + warp * 16, v_sums, ones);
}

template <class Step, int Dim>
void enqueue(const Queue& queue, const Attention& a, const Bounds& bounds) {
  constexpr int kQueries = Step::template kBackwardQueries<Dim>, kRows = cuda::kRows<Step, Dim>;
  constexpr size_t kShared =
      kTile<Step, Dim, 2 * (kRows + kQueries)> * sizeof(typename Step::Element) +
      Step::template kWarps<Dim> * Step::template kStrip<kQueries> * sizeof(float);
  const auto launch = [&](auto kernel) {
    queue.launch(kernel, grid_of(bounds, kRows, a.kv_heads), dim3(kThreads<Step, Dim>), kShared, a,
                 bounds);
  };
  if constexpr (Dim <= 128) {
    launch(gradients_of_keys<Step, Dim, true, true>);
  } else {
    // A thread's registers hold the sums of one.
    launch(gradients_of_keys<Step, Dim, true, false>);
    launch(gradients_of_keys<Step, Dim, false, true>);
  }
}

}  // namespace

void key_gradients(const Queue& queue, const Attention& a, const Bounds& bounds) {
  with_step_and_dim(a, [&]<class Step, int Dim>() { enqueue<Step, Dim>(queue, a, bounds); });
}

}  // namespace fms_accel::cuda
