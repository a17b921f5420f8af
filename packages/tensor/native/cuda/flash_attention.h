// Attention in bfloat16 that never holds scores outside of registers (flash_attention.cu,
// flash_attention_backward.cu).
#pragma once
#include "cpu/attention.h"

namespace fms_accel::cuda {

constexpr int64_t kMostFlashDim = 128;

// Whether the kernels below take this: products in bfloat16, heads of up to kMostFlashDim.
bool is_flash(const AttentionArguments& p);
void flash_attention_forward(const AttentionArguments& p);
void flash_attention_backward(const AttentionArguments& p);

}  // namespace fms_accel::cuda
