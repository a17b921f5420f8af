// What products are made of: tensor cores on bfloat16 or float16 operands, or float32 arithmetic. A
// warp has 16 rows of a result; lane 4g + t holds, of each 8 columns j, columns 2t and 2t + 1 of
// row g in sums[j][0, 1] and of row g + 8 in sums[j][2, 3], as mma.m16n8k16 leaves them.
//
//   multiply_rows:    sums [16, Columns] += a · b^T, for 16 rows of a tile and `Columns` of another
//   multiply_weights: sums [16, Dim] += weights · b, for `Depth` rows of a tile
//
// `dims` columns of the tiles count, a multiple of 16.
#pragma once
#include "cpu/kernels.h"
#include "fms_accel/cuda/numbers.h"
#include "fms_accel/cuda/tensor_core.h"

namespace fms_accel::cuda {

template <bool IsFloat16>
struct TensorCoreStep {
  using Element = uint16_t;
  static constexpr DType kDType = IsFloat16 ? DType::kFloat16 : DType::kBFloat16;
  // The padding keeps the rows of an ldmatrix on different banks.
  template <int Dim>
  static constexpr int kStride = Dim + 8;
  template <int Dim>
  static constexpr int kWarps = 4;
  // As many as registers hold beside the sums.
  template <int Dim>
  static constexpr int kForwardKeys = Dim <= 128 ? 64 : 32;
  template <int Dim>
  static constexpr int kBackwardKeys = kForwardKeys<Dim>;
  template <int Dim>
  static constexpr int kBackwardQueries = Dim <= 64    ? 64
                                          : Dim <= 128 ? 32
                                                       : 16;
  template <int Columns>
  static constexpr int kStrip = 0;

  __device__ __forceinline__ static uint32_t pack(float low, float high) {
    if constexpr (IsFloat16) return pack_f16(low, high);
    return pack_bf16(low, high);
  }
  __device__ __forceinline__ static void multiply(float (&d)[4], const uint32_t (&a)[4],
                                                  uint32_t b0, uint32_t b1) {
    if constexpr (IsFloat16)
      mma_f16(d, a, b0, b1);
    else
      mma_bf16(d, a, b0, b1);
  }
  // Consecutive values of a row of a tile.
  __device__ __forceinline__ static void put(Element* to, const float (&values)[8]) {
    *reinterpret_cast<uint4*>(to) = uint4{pack(values[0], values[1]), pack(values[2], values[3]),
                                          pack(values[4], values[5]), pack(values[6], values[7])};
  }

  template <int Dim, int Columns>
  __device__ __forceinline__ static void multiply_rows(float (&sums)[Columns / 8][4],
                                                       const Element* a, const Element* b,
                                                       int dims) {
    const int l = static_cast<int>(threadIdx.x) % 32;
    for (int step = 0; step < dims; step += 16) {
      uint32_t own[4];
      ldmatrix_x4(own, a + l % 16 * kStride<Dim> + step + l / 16 * 8);
#pragma unroll
      for (int j = 0; j < Columns / 16; ++j) {
        uint32_t other[4];
        ldmatrix_x4(other, b + (j * 16 + l / 16 * 8 + l % 8) * kStride<Dim> + step + l / 8 % 2 * 8);
        multiply(sums[2 * j], own, other[0], other[1]);
        multiply(sums[2 * j + 1], own, other[2], other[3]);
      }
    }
  }

  // Weights are rounded to the operands' dtype.
  template <int Dim, int Depth>
  __device__ __forceinline__ static void multiply_weights(float (&sums)[Dim / 8][4],
                                                          const float (&weights)[Depth / 8][4],
                                                          const Element* b, int dims, float*) {
    const int l = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int step = 0; step < Depth; step += 16) {
      uint32_t own[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float* pair = &weights[step / 8 + e / 2][e % 2 * 2];
        own[e] = pack(pair[0], pair[1]);
      }
#pragma unroll
      for (int j = 0; j < Dim / 16; ++j) {
        if (j * 16 >= dims) continue;
        uint32_t other[4];
        ldmatrix_x4_transposed(other, b + (step + l % 16) * kStride<Dim> + j * 16 + l / 16 * 8);
        multiply(sums[2 * j], own, other[0], other[1]);
        multiply(sums[2 * j + 1], own, other[2], other[3]);
      }
    }
  }
};

// Tensor cores would round float32 operands to 11 bits.
struct Float32Step {
  using Element = float;
  static constexpr DType kDType = DType::kFloat32;
  template <int Dim>
  static constexpr int kStride = Dim + 4;
  template <int Dim>
  static constexpr int kWarps = Dim <= 128 ? 4 : 2;
  // As many as 99 KiB of shared memory hold, which every device has.
  template <int Dim>
  static constexpr int kForwardKeys = Dim <= 128 ? 32 : 16;
  template <int Dim>
  static constexpr int kBackwardKeys = Dim <= 64    ? 32
                                       : Dim <= 128 ? 16
                                                    : 8;
  template <int Dim>
  static constexpr int kBackwardQueries = kBackwardKeys<Dim>;
  // Floats of shared memory for the weights of a warp.
  template <int Columns>
  static constexpr int kStrip = 16 * (Columns + 4);

  __device__ __forceinline__ static void put(Element* to, const float (&values)[4]) {
    *reinterpret_cast<float4*>(to) = float4{values[0], values[1], values[2], values[3]};
  }

  template <int Dim, int Columns>
  __device__ __forceinline__ static void multiply_rows(float (&sums)[Columns / 8][4],
                                                       const float* a, const float* b, int dims) {
    const int l = static_cast<int>(threadIdx.x) % 32;
    const float* rows = a + l / 4 * kStride<Dim>;
    const float* columns = b + l % 4 * 2 * kStride<Dim>;
    for (int d = 0; d < dims; d += 4) {
      const float4 own[2] = {four(rows + d), four(rows + 8 * kStride<Dim> + d)};
#pragma unroll
      for (int j = 0; j < Columns / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const float4 other = four(columns + (j * 8 + e % 2) * kStride<Dim> + d);
          float sum = sums[j][e];
          sum = fmaf(own[e / 2].x, other.x, sum);
          sum = fmaf(own[e / 2].y, other.y, sum);
          sum = fmaf(own[e / 2].z, other.z, sum);
          sums[j][e] = fmaf(own[e / 2].w, other.w, sum);
        }
      }
    }
  }

  template <int Dim, int Depth>
  __device__ __forceinline__ static void multiply_weights(float (&sums)[Dim / 8][4],
                                                          const float (&weights)[Depth / 8][4],
                                                          const float* b, int dims, float* strip) {
    constexpr int kRow = Depth + 4;
    const int l = static_cast<int>(threadIdx.x) % 32;
    float* own = strip + l / 4 * kRow;
#pragma unroll
    for (int j = 0; j < Depth / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) own[e / 2 * 8 * kRow + j * 8 + l % 4 * 2 + e % 2] = weights[j][e];
    }
    __syncwarp();
    for (int k = 0; k < Depth; ++k) {
      const float low = own[k], high = own[8 * kRow + k];
      const float* row = b + k * kStride<Dim> + l % 4 * 2;
#pragma unroll
      for (int j = 0; j < Dim / 8; ++j) {
        if (j * 8 >= dims) continue;
        const float2 pair = *reinterpret_cast<const float2*>(row + j * 8);
        sums[j][0] = fmaf(low, pair.x, sums[j][0]);
        sums[j][1] = fmaf(low, pair.y, sums[j][1]);
        sums[j][2] = fmaf(high, pair.x, sums[j][2]);
        sums[j][3] = fmaf(high, pair.y, sums[j][3]);
      }
    }
    __syncwarp();  // the strip has been read
  }

 private:
  __device__ __forceinline__ static float4 four(const float* from) {
    return *reinterpret_cast<const float4*>(from);
  }
};

}  // namespace fms_accel::cuda
