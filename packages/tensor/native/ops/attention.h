#pragma once
#include "engine/tensor.h"

namespace fms_accel::ops {

struct AttentionOptions {
  float scale = 1;
  float soft_cap = 0;
  bool causal = false;
  int64_t window = 0;
  const Tensor* key_mask = nullptr;        // bool or uint8 [B, Tk]
  const Tensor* query_segments = nullptr;  // int32 [B, Tq], together with
  const Tensor* key_segments = nullptr;    // int32 [B, Tk]
  bool compute_bfloat16 = false;
  DType dtype = DType::kFloat32;  // of the result
};

struct AttentionResult {
  Tensor out;  // [B, H, Tq, Dv], in memory as [B, Tq, H, Dv], so that heads join without a copy
  Tensor lse;  // float32 [B, H, Tq]
};
struct AttentionGradients {
  Tensor q, k, v;  // like the operands, in memory as [B, T, H, D]
};

// q [B, H, Tq, D], k [B, Hkv, Tk, D], v [B, Hkv, Tk, Dv] of floating dtypes, H a multiple of Hkv.
// See cpu/attention.h.
AttentionResult attention(const Tensor& q, const Tensor& k, const Tensor& v,
                          const AttentionOptions& options);
AttentionGradients attention_gradients(const Tensor& q, const Tensor& k, const Tensor& v,
                                       const AttentionResult& result, const Tensor& out_gradient,
                                       const AttentionOptions& options);

}  // namespace fms_accel::ops
