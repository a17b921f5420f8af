// Tensor-core operations of a warp and asynchronous copies, by the names under which the kernels
// know them.
#pragma once
#include "cuda_emulator/device.h"

namespace cuda_emulator {

struct MatrixLoad {
  const void* row;
  uint32_t* to;
};
struct Product {
  float* d;
  const uint32_t* a;
  uint32_t b[2];
};
// src/tensor_core.cc
void complete_load(void* const payload[kWarp], uint32_t mask);
void complete_transposed_load(void* const payload[kWarp], uint32_t mask);
void complete_product(void* const payload[kWarp], uint32_t mask);
void complete_product_f16(void* const payload[kWarp], uint32_t mask);

inline void ldmatrix_x4(uint32_t (&to)[4], const void* row, CUDA_EMULATOR_SITE) {
  MatrixLoad own{row, to};
  collective("ldmatrix", kFullMask, &own, complete_load, site);
}
inline void ldmatrix_x4_transposed(uint32_t (&to)[4], const void* row, CUDA_EMULATOR_SITE) {
  MatrixLoad own{row, to};
  collective("ldmatrix.trans", kFullMask, &own, complete_transposed_load, site);
}
inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                     CUDA_EMULATOR_SITE) {
  Product own{d, a, {b0, b1}};
  collective("mma.sync", kFullMask, &own, complete_product, site);
}
inline void mma_f16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                    CUDA_EMULATOR_SITE) {
  Product own{d, a, {b0, b1}};
  collective("mma.sync", kFullMask, &own, complete_product_f16, site);
}

inline void copy_async_16(void* to, const void* from, bool is_inside, CUDA_EMULATOR_SITE) {
  copy_async(to, from, 16, is_inside ? 16 : 0, site);
}
inline void copy_async_up_to_16(void* to, const void* from, int bytes, CUDA_EMULATOR_SITE) {
  copy_async(to, from, 16, bytes, site);
}
template <int GroupsLeft>
void copy_async_wait() {
  copy_async_wait(GroupsLeft);
}
inline void copy_async_wait_all() { copy_async_wait(0); }

}  // namespace cuda_emulator
