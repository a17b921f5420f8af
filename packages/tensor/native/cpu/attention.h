// Scaled dot-product attention, a block of query rows at a time: scores of a whole sequence are
// never held.
#pragma once
#include <cstdint>

#include "engine/dtype.h"

namespace fms_accel {

// [batch, heads, tokens, head_dim]; the last dimension is contiguous, strides are in elements.
// Strides of heads and tokens of q and of out_gradient are multiples of the last dimension.
struct AttentionTensor {
  void* data = nullptr;
  DType dtype = DType::kFloat32;
  int64_t batch_stride = 0, head_stride = 0, token_stride = 0;
};

constexpr int64_t kMostHeadsOfGroup = 192;  // query heads for each key-value head

struct AttentionArguments {
  int64_t batch = 0, heads = 0, kv_heads = 0, queries = 0, keys = 0, head_dim = 0, value_dim = 0;
  AttentionTensor q, k, v, out;
  // The logarithm of each row's sum of exponentials, float32 [batch, heads, queries]; +inf for a
  // row that sees no key. Written by forward, read by backward.
  float* lse = nullptr;
  // Backward only: `out` is read.
  AttentionTensor out_gradient, q_gradient, k_gradient, v_gradient;

  float scale = 1;
  float soft_cap = 0;  // s becomes soft_cap * tanh(s / soft_cap); 0 is none
  // Key j is visible to query i when, with p = i + keys - queries: j <= p (causal), j > p - window
  // (window > 0), key_mask[batch, j] != 0, and query_segments[batch, i] == key_segments[batch, j];
  // null masks allow everything.
  bool causal = false;
  int64_t window = 0;
  const uint8_t* key_mask = nullptr;        // [batch, keys]
  const int32_t* query_segments = nullptr;  // [batch, queries]
  const int32_t* key_segments = nullptr;    // [batch, keys]
  bool compute_bfloat16 = false;            // what operands of the products are rounded to
};

}  // namespace fms_accel
