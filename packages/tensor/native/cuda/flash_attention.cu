// Attention forward (Dao, "FlashAttention-2", 2023): a block has 64 queries of a head, 16 a warp,
// and walks over 64 keys at a time with a running maximum and sum. Keys arrive while the values
// before are multiplied, and the other way round. Bits of a row depend on what it sees and on where
// that lies, never on other rows.
#include "cuda/flash_attention.h"
#include "cuda/flash_tiles.h"
#include "cuda/kernel_sources.h"

namespace fms_accel::cuda {
namespace {

constexpr int kQueries = 64;

// Keys at a time: as many as registers and shared memory hold beside the result.
template <int Dim>
constexpr int kKeysOfPass = Dim <= 128 ? 64 : 32;

// The join over the four lanes that share a row.
template <class Join>
__device__ __forceinline__ float quad_join(float value, Join join) {
  value = join(value, __shfl_xor_sync(kFullMask, value, 1));
  return join(value, __shfl_xor_sync(kFullMask, value, 2));
}

template <int Dim>
__global__ void __launch_bounds__(kFlashThreads) attend(AttentionArguments p) {
  constexpr int kKeys = kKeysOfPass<Dim>;
  DYNAMIC_SHARED(uint16_t, shared);
  uint16_t* const q_tile = shared;
  uint16_t* const k_tile = q_tile + kQueries * kTileStride<Dim>;
  uint16_t* const v_tile = k_tile + kKeys * kTileStride<Dim>;
  // The last queries see most keys where attention is causal: they begin first.
  const int64_t first = static_cast<int64_t>(gridDim.x - 1 - blockIdx.x) * kQueries;
  const int64_t head = blockIdx.y, batch = blockIdx.z, kv_head = head / (p.heads / p.kv_heads);
  const int warp = static_cast<int>(threadIdx.x) / 32, l = static_cast<int>(threadIdx.x) % 32;
  const HeadRows q = head_rows(p.q, batch, head, p.queries, p.head_dim),
                 k = head_rows(p.k, batch, kv_head, p.keys, p.head_dim),
                 v = head_rows(p.v, batch, kv_head, p.keys, p.value_dim);
  const int64_t begin = keys_of_row(p, first).begin / kKeys * kKeys,
                end = keys_of_row(p, min_of(first + kQueries, p.queries) - 1).end;
  float out[Dim / 8][4];
  clear(out);
  float largest[2] = {-infinity(), -infinity()}, sums[2] = {0.0f, 0.0f};
  load_tile<kQueries, Dim>(q_tile, q, first);
  if (begin < end) load_tile<kKeys, Dim>(k_tile, k, begin);
  copy_async_commit();
  for (int64_t key = begin; key < end; key += kKeys) {
    copy_async_wait_all();
    __syncthreads();  // the keys are there, and the values before have been read
    load_tile<kKeys, Dim>(v_tile, v, key);
    copy_async_commit();
    float weights[kKeys / 8][4];
    clear(weights);
    multiply_rows<Dim, kKeys>(weights, q_tile + warp * 16 * kTileStride<Dim>, k_tile);
    const bool is_whole = sees_all(p, first, kQueries, key, kKeys);
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t query = first + warp * 16 + l / 4 + e / 2 * 8,
                      column = key + j * 8 + l % 4 * 2 + e % 2;
        weights[j][e] = is_whole || (query < p.queries && is_visible(p, batch, query, column))
                            ? score_of(p, weights[j][e])
                            : -infinity();
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float own = largest[half];
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j)
        own = fmaxf(own, fmaxf(weights[j][2 * half], weights[j][2 * half + 1]));
      own = quad_join(own, [](float a, float b) { return fmaxf(a, b); });
      const float base = own == -infinity() ? 0.0f : own * kLog2E;
      const float factor = exp2f(largest[half] * kLog2E - base);
      largest[half] = own;
      sums[half] *= factor;
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; ++e) {
          weights[j][e] = exp2f(weights[j][e] * kLog2E - base);
          sums[half] += weights[j][e];
        }
      }
#pragma unroll
      for (int j = 0; j < Dim / 8; ++j) {
        out[j][2 * half] *= factor;
        out[j][2 * half + 1] *= factor;
      }
    }
    copy_async_wait_all();
    __syncthreads();  // the values are there, and the keys have been read
    if (key + kKeys < end) load_tile<kKeys, Dim>(k_tile, k, key + kKeys);
    copy_async_commit();
    multiply_weights<Dim, kKeys>(out, weights, v_tile);
  }
  copy_async_wait_all();
  float factors[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float sum = quad_join(sums[half], [](float a, float b) { return a + b; });
    factors[half] = sum == 0.0f ? 0.0f : 1.0f / sum;
    const int64_t query = first + warp * 16 + l / 4 + 8 * half;
    if (l % 4 == 0 && query < p.queries) {
      p.lse[(batch * p.heads + head) * p.queries + query] =
          sum == 0.0f ? infinity() : largest[half] + logf(sum);
    }
  }
  store_rows(p.out, batch, head, p.queries, p.value_dim, first + warp * 16, 0, out, factors);
}

template <int Dim>
void launch_forward(const AttentionArguments& p) {
  const dim3 grid(static_cast<unsigned>(ceil_div(p.queries, kQueries)),
                  static_cast<unsigned>(p.heads), static_cast<unsigned>(p.batch));
  constexpr size_t kRowBytes = kTileStride<Dim> * sizeof(uint16_t);
  launch(attend<Dim>, grid, dim3(kFlashThreads), (kQueries + 2 * kKeysOfPass<Dim>)*kRowBytes, p);
}

}  // namespace

bool is_flash(const AttentionArguments& p) {
  return p.compute_bfloat16 && max_of(p.head_dim, p.value_dim) <= kMostFlashDim &&
         p.heads <= 65535 && p.batch <= 65535;
}

void flash_attention_forward(const AttentionArguments& p) {
  const int64_t dim = max_of(p.head_dim, p.value_dim);
  dim <= 64 ? launch_forward<64>(p) : dim <= 128 ? launch_forward<128>(p) : launch_forward<256>(p);
}

}  // namespace fms_accel::cuda
