// Which tokens a block of threads works on, and which of them see each other.
#pragma once
#include "cpu/kernels.h"
#include "fms_accel/cuda/gpu.h"

namespace fms_accel::cuda {

// Sequence s owns the tokens [cu_seqlens[s], cu_seqlens[s + 1]). They stay on the device, so that
// nothing waits for them: what bounds.cu finds wrong is known after the kernels have run, which
// therefore touch no memory but the operands' whatever the values are.
struct Bounds {
  const int32_t* cu_seqlens;
  int64_t sequences, tokens;
};

// Blocks of `rows` tokens, each of one sequence: sequence s has those from cu_seqlens[s] / rows + s
// on, as many as it needs or one more.
inline dim3 grid_of(const Bounds& bounds, int64_t rows, int64_t heads) {
  return dim3(static_cast<unsigned>(bounds.tokens / rows + bounds.sequences),
              static_cast<unsigned>(heads));
}

struct Tokens {
  int64_t begin, length;  // the sequence
  int64_t first;          // of the block's rows, counted from `begin`
  bool exist;
};
template <int Rows>
__device__ __forceinline__ Tokens tokens_of_block(const Bounds& bounds) {
  const auto begin_of = [&](int64_t s) {
    return max_of(0, min_of(bounds.cu_seqlens[s], bounds.tokens));
  };
  // The last rows see most keys where attention is causal: they begin first.
  const int64_t block = static_cast<int64_t>(gridDim.x - 1 - blockIdx.x);
  int64_t low = 0, high = bounds.sequences - 1;
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (begin_of(middle) / Rows + middle <= block)
      low = middle;
    else
      high = middle - 1;
  }
  Tokens tokens;
  tokens.begin = begin_of(low);
  tokens.length = begin_of(low + 1) - tokens.begin;
  tokens.first = (block - (tokens.begin / Rows + low)) * Rows;
  tokens.exist = tokens.first >= 0 && tokens.first < tokens.length;
  return tokens;
}

struct Range {
  int64_t begin, end;
};
// What token i < length of a sequence sees. Both ends rise with i.
__device__ __forceinline__ Range keys_of(const Attention& a, int64_t length, int64_t i) {
  Range range{0, a.is_causal ? i + 1 : length};
  if (a.window > 0) {
    range.begin = max_of(0, i - a.window + 1);
    range.end = min_of(range.end, i + a.window);
  }
  return range;
}
// By what token j is seen.
__device__ __forceinline__ Range queries_of(const Attention& a, int64_t length, int64_t j) {
  Range range{a.is_causal ? j : 0, length};
  if (a.window > 0) {
    range.begin = max_of(range.begin, j - a.window + 1);
    range.end = min_of(range.end, j + a.window);
  }
  return range;
}
__device__ __forceinline__ bool is_visible(const Attention& a, int64_t length, int64_t query,
                                           int64_t key) {
  const Range keys = keys_of(a, length, query);
  return query < length && key >= keys.begin && key < keys.end;
}
// Whether all of `queries` from `query` on see all of `keys` from `key` on.
__device__ __forceinline__ bool sees_all(const Attention& a, int64_t length, int64_t query,
                                         int64_t queries, int64_t key, int64_t keys) {
  return query + queries <= length && keys_of(a, length, query + queries - 1).begin <= key &&
         keys_of(a, length, query).end >= key + keys;
}

constexpr float kLog2E = 1.44269504088896341f;

// The score of a visible key, from q · k.
__device__ __forceinline__ float score_of(const Attention& a, float product) {
  const float score = product * a.scale;
  return a.soft_cap > 0 ? a.soft_cap * tanhf(score / a.soft_cap) : score;
}
__device__ __forceinline__ float weight_of(float score, float lse) {
  return exp2f((score - lse) * kLog2E);
}
// The gradient of q · k, from that of the weight.
__device__ __forceinline__ float slope_of(const Attention& a, float score, float weight,
                                          float gradient, float delta) {
  const float slope = weight * (gradient - delta) * a.scale;
  if (a.soft_cap <= 0) return slope;
  const float capped = score / a.soft_cap;
  return weight > 0 ? slope * (1.0f - capped * capped) : 0.0f;
}

}  // namespace fms_accel::cuda
