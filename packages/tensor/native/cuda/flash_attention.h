// Attention that never holds scores outside of registers and a tile (attention.cu).
#pragma once
#include "cpu/attention.h"

namespace fms_accel::cuda {

constexpr int64_t kMostFlashDim = 256;

// Whether tensor cores take this: products in bfloat16, heads of up to kMostFlashDim.
bool is_flash(const AttentionArguments& p);
// flash_attention.cu, flash_attention_backward.cu
void flash_attention_forward(const AttentionArguments& p);
void flash_attention_backward(const AttentionArguments& p, const float* deltas);
// flash_attention_float.cu: everything else
void float_attention_forward(const AttentionArguments& p);
void float_attention_backward(const AttentionArguments& p, const float* deltas);

}  // namespace fms_accel::cuda
