// Gradients of the queries: scores are computed again from q, k and the log-sum-exp of forward (Dao
// et al., "FlashAttention", 2022, section 3.1). A block sums over the keys that its rows see, so
// the order of every sum is fixed.
#include "cuda/attention.h"
#include "cuda/queue.h"
#include "cuda/tiles.h"

namespace fms_accel::cuda {
namespace {

constexpr int kDotThreads = 128;

// delta [tokens, heads] = out · gradient of out: a warp for each.
__global__ void __launch_bounds__(kDotThreads) output_dots(Attention a, int64_t rows) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kDotThreads / 32) +
                      static_cast<int64_t>(threadIdx.x / 32);
  if (row >= rows) return;
  const int64_t token = row / a.heads, head = row % a.heads;
  const int64_t out_at = token * a.out.token_stride + head * a.out.head_stride,
                gradient_at =
                    token * a.out_gradient.token_stride + head * a.out_gradient.head_stride;
  float sum = 0;
  for (int64_t d = threadIdx.x % 32; d < a.head_dim; d += 32)
    sum += load(a.out.data, a.out.dtype, out_at + d) *
           load(a.out_gradient.data, a.out_gradient.dtype, gradient_at + d);
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    sum += __shfl_xor_sync(kFullMask, sum, distance);
  if (threadIdx.x % 32 == 0) a.delta[row] = sum;
}

template <class Step, int Dim>
__global__ void __launch_bounds__(kThreads<Step, Dim>)
    gradients_of_queries(Attention a, Bounds bounds) {
  constexpr int kKeys = Step::template kBackwardKeys<Dim>, kRows = cuda::kRows<Step, Dim>;
  using Element = typename Step::Element;
  DYNAMIC_SHARED(Element, shared);
  Element *const q_tile = shared, *const g_tile = q_tile + kTile<Step, Dim, kRows>,
                 *const k_tile = g_tile + kTile<Step, Dim, kRows>,
                 *const v_tile = k_tile + kTile<Step, Dim, kKeys>;
  const int warp = static_cast<int>(threadIdx.x) / 32, l = static_cast<int>(threadIdx.x) % 32;
  float* const strip = reinterpret_cast<float*>(v_tile + kTile<Step, Dim, kKeys>) +
                       warp * Step::template kStrip<kKeys>;
  const Tokens tokens = tokens_of_block<kRows>(bounds);
  if (!tokens.exist) return;
  const int64_t first = tokens.first, length = tokens.length;
  const int64_t head = blockIdx.y, kv_head = head / (a.heads / a.kv_heads);
  const int dims = padded(a.head_dim);
  const HeadRows k = head_rows<Step>(a.k, tokens, kv_head, a.head_dim),
                 v = head_rows<Step>(a.v, tokens, kv_head, a.head_dim);
  const int64_t begin = keys_of(a, length, first).begin / kKeys * kKeys,
                end = keys_of(a, length, min_of(first + kRows, length) - 1).end;
  const bool has_rows = first + warp * 16 < length;
  float lse[2], delta[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t query = first + warp * 16 + l / 4 + 8 * half,
                  at = (tokens.begin + query) * a.heads + head;
    lse[half] = query < length ? a.lse[at] : infinity();
    delta[half] = query < length ? a.delta[at] : 0.0f;
  }
  float sums[Dim / 8][4];
  clear(sums);
  load_tile<Step, kRows, Dim>(q_tile, head_rows<Step>(a.q, tokens, head, a.head_dim), first);
  load_tile<Step, kRows, Dim>(g_tile, head_rows<Step>(a.out_gradient, tokens, head, a.head_dim),
                              first);
  for (int64_t key = begin; key < end; key += kKeys) {
    __syncthreads();  // the tiles before have been read
    load_tile<Step, kKeys, Dim>(k_tile, k, key);
    load_tile<Step, kKeys, Dim>(v_tile, v, key);
    copy_async_commit();
    copy_async_wait_all();
    __syncthreads();
    if (!has_rows) continue;
    float slopes[kKeys / 8][4], gradients[kKeys / 8][4];
    clear(slopes);
    clear(gradients);
    const int own = kTile<Step, Dim, 16> * warp;
    Step::template multiply_rows<Dim, kKeys>(slopes, q_tile + own, k_tile, dims);
    Step::template multiply_rows<Dim, kKeys>(gradients, g_tile + own, v_tile, dims);
    const bool is_whole = sees_all(a, length, first, kRows, key, kKeys);
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t query = first + warp * 16 + l / 4 + e / 2 * 8,
                      column = key + j * 8 + l % 4 * 2 + e % 2;
        const float score = is_whole || is_visible(a, length, query, column)
                                ? score_of(a, slopes[j][e])
                                : -infinity();
        slopes[j][e] =
            slope_of(a, score, weight_of(score, lse[e / 2]), gradients[j][e], delta[e / 2]);
      }
    }
    Step::template multiply_weights<Dim, kKeys>(sums, slopes, k_tile, dims, strip);
  }
  if (!has_rows) return;
  const float ones[2] = {1.0f, 1.0f};
  store_rows<Dim>(a.q_gradient, tokens, head, a.head_dim, first + warp * 16, sums, ones);
}

template <class Step, int Dim>
void enqueue(const Queue& queue, const Attention& a, const Bounds& bounds) {
  constexpr int kKeys = Step::template kBackwardKeys<Dim>, kRows = cuda::kRows<Step, Dim>;
  constexpr size_t kShared =
      kTile<Step, Dim, 2 * (kRows + kKeys)> * sizeof(typename Step::Element) +
      Step::template kWarps<Dim> * Step::template kStrip<kKeys> * sizeof(float);
  queue.launch(gradients_of_queries<Step, Dim>, grid_of(bounds, kRows, a.heads),
               dim3(kThreads<Step, Dim>), kShared, a, bounds);
}

}  // namespace

void query_gradients(const Queue& queue, const Attention& a, const Bounds& bounds) {
  const int64_t rows = bounds.tokens * a.heads;
  queue.launch(output_dots, dim3(static_cast<unsigned>(ceil_div(rows, kDotThreads / 32))),
               dim3(kDotThreads), 0, a, rows);
  with_step_and_dim(a, [&]<class Step, int Dim>() { enqueue<Step, Dim>(queue, a, bounds); });
}

}  // namespace fms_accel::cuda
