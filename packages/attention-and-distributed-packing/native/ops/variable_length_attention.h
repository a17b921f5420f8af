#pragma once
#include "cpu/kernels.h"
#include "engine/engine.h"

namespace fms_accel::ops {

struct AttentionOptions {
  float scale = 1;
  float soft_cap = 0;  // 0 is none
  bool is_causal = true;
  int64_t window = 0;  // 0 is none
  bool in_bfloat16 = false;
  fms_accel_dtype dtype = kFloat32Type;  // of the result
};

// q [tokens, heads, head_dim], k and v [tokens, kv_heads, head_dim], the last dimension contiguous;
// cu_seqlens int32 [sequences + 1], contiguous.
struct AttentionOperands {
  TensorView q, k, v, cu_seqlens;
};

// Throws Error with the operation and its operands.
[[noreturn]] void fail_on_device(const AttentionOperands&, const DeviceError&);

// The two below throw DeviceError where the device fails.
struct AttentionResult {
  NewTensor out;  // [tokens, heads, head_dim]
  NewTensor lse;  // float32 [tokens, heads]
};
AttentionResult variable_length_attention(const Engine&, const AttentionKernels&,
                                          const AttentionOperands&, const AttentionOptions&);

struct AttentionGradients {
  NewTensor q, k, v;  // contiguous, of the dtypes of the operands
};
AttentionGradients variable_length_attention_gradients(const Engine&, const AttentionKernels&,
                                                       const AttentionOperands&,
                                                       const TensorView& out, const TensorView& lse,
                                                       const TensorView& out_gradient,
                                                       const AttentionOptions&);

}  // namespace fms_accel::ops
