// Attention forward (Dao, "FlashAttention-2", 2023): a block has rows of one head of one sequence,
// 16 a warp, and walks over the keys that they see with a running maximum and sum. Keys arrive
// while the values before are multiplied, and the other way round. The bits of a sequence depend on
// nothing but the sequence.
#include "cuda/attention.h"
#include "cuda/queue.h"
#include "cuda/tiles.h"

namespace fms_accel::cuda {
namespace {

// The join over the four lanes that share a row.
template <class Join>
__device__ __forceinline__ float quad_join(float value, Join join) {
  value = join(value, __shfl_xor_sync(kFullMask, value, 1));
  return join(value, __shfl_xor_sync(kFullMask, value, 2));
}

template <class Step, int Dim>
constexpr int kKeys = Step::template kForwardKeys<Dim>;

template <class Step, int Dim>
__global__ void __launch_bounds__(kThreads<Step, Dim>) attend(Attention a, Bounds bounds) {
  constexpr int kKeys = cuda::kKeys<Step, Dim>, kRows = cuda::kRows<Step, Dim>;
  using Element = typename Step::Element;
  DYNAMIC_SHARED(Element, shared);
  Element *const q_tile = shared, *const k_tile = q_tile + kTile<Step, Dim, kRows>,
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
  float out[Dim / 8][4];
  clear(out);
  float largest[2] = {-infinity(), -infinity()}, sums[2] = {0.0f, 0.0f};
  load_tile<Step, kRows, Dim>(q_tile, head_rows<Step>(a.q, tokens, head, a.head_dim), first);
  load_tile<Step, kKeys, Dim>(k_tile, k, begin);
  copy_async_commit();
  for (int64_t key = begin; key < end; key += kKeys) {
    copy_async_wait_all();
    __syncthreads();  // the keys are there, and the values before have been read
    load_tile<Step, kKeys, Dim>(v_tile, v, key);
    copy_async_commit();
    float weights[kKeys / 8][4];
    clear(weights);
    if (has_rows) {
      Step::template multiply_rows<Dim, kKeys>(weights, q_tile + kTile<Step, Dim, 16> * warp,
                                               k_tile, dims);
      const bool is_whole = sees_all(a, length, first, kRows, key, kKeys);
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int64_t query = first + warp * 16 + l / 4 + e / 2 * 8,
                        column = key + j * 8 + l % 4 * 2 + e % 2;
          weights[j][e] = is_whole || is_visible(a, length, query, column)
                              ? score_of(a, weights[j][e])
                              : -infinity();
        }
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float own = largest[half];
#pragma unroll
        for (int j = 0; j < kKeys / 8; ++j)
          own = fmaxf(own, fmaxf(weights[j][2 * half], weights[j][2 * half + 1]));
        own = quad_join(own, [](float x, float y) { return fmaxf(x, y); });
        const float base = own == -infinity() ? 0.0f : own;
        const float factor = weight_of(largest[half], base);
        largest[half] = own;
        sums[half] *= factor;
#pragma unroll
        for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
          for (int e = 2 * half; e < 2 * half + 2; ++e) {
            weights[j][e] = weight_of(weights[j][e], base);
            sums[half] += weights[j][e];
          }
        }
#pragma unroll
        for (int j = 0; j < Dim / 8; ++j) {
          out[j][2 * half] *= factor;
          out[j][2 * half + 1] *= factor;
        }
      }
    }
    copy_async_wait_all();
    __syncthreads();  // the values are there, and the keys have been read
    if (key + kKeys < end) load_tile<Step, kKeys, Dim>(k_tile, k, key + kKeys);
    copy_async_commit();
    if (has_rows) Step::template multiply_weights<Dim, kKeys>(out, weights, v_tile, dims, strip);
  }
  copy_async_wait_all();
  if (!has_rows) return;
  float factors[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float sum = quad_join(sums[half], [](float x, float y) { return x + y; });
    factors[half] = 1.0f / sum;
    const int64_t query = first + warp * 16 + l / 4 + 8 * half;
    if (l % 4 == 0 && query < length)
      a.lse[(tokens.begin + query) * a.heads + head] = largest[half] + logf(sum);
  }
  store_rows<Dim>(a.out, tokens, head, a.head_dim, first + warp * 16, out, factors);
}

template <class Step, int Dim>
void enqueue(const Queue& queue, const Attention& a, const Bounds& bounds) {
  constexpr int kKeys = cuda::kKeys<Step, Dim>, kRows = cuda::kRows<Step, Dim>;
  constexpr size_t kShared =
      kTile<Step, Dim, kRows + 2 * kKeys> * sizeof(typename Step::Element) +
      Step::template kWarps<Dim> * Step::template kStrip<kKeys> * sizeof(float);
  queue.launch(attend<Step, Dim>, grid_of(bounds, kRows, a.heads), dim3(kThreads<Step, Dim>),
               kShared, a, bounds);
}

}  // namespace

void forward(const Queue& queue, const Attention& a, const Bounds& bounds) {
  with_step_and_dim(a, [&]<class Step, int Dim>() { enqueue<Step, Dim>(queue, a, bounds); });
}

}  // namespace fms_accel::cuda
