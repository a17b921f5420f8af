// The register layouts of ldmatrix and mma.m16n8k16, from the PTX ISA manual. With g = lane / 4 and
// t = lane % 4, a lane holds
//   A (16x16): a0 (g, 2t) a1 (g+8, 2t) a2 (g, 2t+8) a3 (g+8, 2t+8), two columns each
//   B (16x8):  b0 (2t, g) b1 (2t+8, g), two rows each
//   D (16x8):  d0 d1 (g, 2t) d2 d3 (g+8, 2t)
#include "cuda_emulator/tensor_core.h"

namespace cuda_emulator {
namespace {

void load_matrices(void* const payload[kWarp], bool transposed) {
  const uint16_t* rows[4][8];
  for (int l = 0; l < kWarp; ++l) {
    const void* row = static_cast<MatrixLoad*>(payload[l])->row;
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0)
      CUDA_EMULATOR_FAIL("ldmatrix: the row of lane " + std::to_string(l) +
                         " is not aligned to 16 bytes");
    note_access(l, row, 16, false);
    rows[l / 8][l % 8] = static_cast<const uint16_t*>(row);
  }
  for (int l = 0; l < kWarp; ++l) {
    const int g = l / 4, t = l % 4;
    for (int m = 0; m < 4; ++m) {
      const uint32_t low = transposed ? rows[m][2 * t][g] : rows[m][g][2 * t];
      const uint32_t high = transposed ? rows[m][2 * t + 1][g] : rows[m][g][2 * t + 1];
      static_cast<MatrixLoad*>(payload[l])->to[m] = low | high << 16;
    }
  }
}

float float_of_bf16(uint16_t x) { return bits<float>(static_cast<uint32_t>(x) << 16); }
float float_of_f16(uint16_t x) { return static_cast<float>(bits<_Float16>(x)); }

template <float (*float_of)(uint16_t)>
void multiply(void* const payload[kWarp]) {
  const auto low_half = [](uint32_t x) { return float_of(static_cast<uint16_t>(x)); };
  const auto high_half = [](uint32_t x) { return float_of(static_cast<uint16_t>(x >> 16)); };
  alignas(32) float a[16][16], b[16][8], d[16][8];
  for (int l = 0; l < kWarp; ++l) {
    const Product& own = *static_cast<Product*>(payload[l]);
    const int g = l / 4, t = 2 * (l % 4);
    for (int i = 0; i < 4; ++i) {
      a[g + 8 * (i & 1)][t + 8 * (i >> 1)] = low_half(own.a[i]);
      a[g + 8 * (i & 1)][t + 8 * (i >> 1) + 1] = high_half(own.a[i]);
    }
    for (int i = 0; i < 2; ++i) {
      b[t + 8 * i][g] = low_half(own.b[i]);
      b[t + 8 * i + 1][g] = high_half(own.b[i]);
    }
    for (int i = 0; i < 4; ++i) d[g + 8 * (i >> 1)][t + (i & 1)] = own.d[i];
  }
  for (int m = 0; m < 16; ++m) {
    for (int k = 0; k < 16; ++k) {
      for (int n = 0; n < 8; ++n) d[m][n] += a[m][k] * b[k][n];
    }
  }
  for (int l = 0; l < kWarp; ++l) {
    const Product& own = *static_cast<Product*>(payload[l]);
    const int g = l / 4, t = 2 * (l % 4);
    for (int i = 0; i < 4; ++i) own.d[i] = d[g + 8 * (i >> 1)][t + (i & 1)];
  }
}

}  // namespace

void complete_load(void* const payload[kWarp], uint32_t) { load_matrices(payload, false); }
void complete_transposed_load(void* const payload[kWarp], uint32_t) {
  load_matrices(payload, true);
}
void complete_product(void* const payload[kWarp], uint32_t) { multiply<float_of_bf16>(payload); }
void complete_product_f16(void* const payload[kWarp], uint32_t) { multiply<float_of_f16>(payload); }

}  // namespace cuda_emulator
