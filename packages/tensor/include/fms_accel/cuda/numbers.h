// Conversions between float32 and the 16-bit dtypes, which kernels hold as their bits.
#pragma once
#include "fms_accel/cuda/gpu.h"

namespace fms_accel::cuda {

__device__ __forceinline__ float float_of_bf16(uint16_t bits) {
  return __uint_as_float(static_cast<unsigned>(bits) << 16);
}
// Round to nearest even; NaN stays NaN.
__device__ __forceinline__ uint16_t bf16_of_float(float value) {
  const unsigned bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(0x7fc0u | (bits >> 16));
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#if defined(__CUDACC__)
__device__ __forceinline__ float float_of_f16(uint16_t bits) {
  return __half2float(__ushort_as_half(bits));
}
__device__ __forceinline__ uint16_t f16_of_float(float value) {
  return __half_as_ushort(__float2half_rn(value));
}
#else
inline float float_of_f16(uint16_t bits) {
  return static_cast<float>(::cuda_emulator::bits<_Float16>(bits));
}
inline uint16_t f16_of_float(float value) {
  return ::cuda_emulator::bits<uint16_t>(static_cast<_Float16>(value));
}
#endif

__device__ __forceinline__ unsigned pack_bf16(float low, float high) {
  return static_cast<unsigned>(bf16_of_float(low)) | static_cast<unsigned>(bf16_of_float(high))
                                                         << 16;
}
__device__ __forceinline__ unsigned pack_f16(float low, float high) {
  return static_cast<unsigned>(f16_of_float(low)) | static_cast<unsigned>(f16_of_float(high)) << 16;
}

}  // namespace fms_accel::cuda
