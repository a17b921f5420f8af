// Elements of tensors on the device: loads and stores that convert between stored dtypes and what
// kernels compute in (float, double, int64_t), and positions of strided operands. The dtype is
// known at run time and the same for a whole kernel, so one kernel serves every dtype.
#pragma once
#include "cpu/kernels.h"
#include "cuda/gpu.h"
#include "fms_accel/cuda/numbers.h"

namespace fms_accel::cuda {

// Element `i` of memory of some dtype.
template <class Compute>
__device__ __forceinline__ Compute load(const void* data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::kFloat32:
      return static_cast<Compute>(static_cast<const float*>(data)[i]);
    case DType::kBFloat16:
      return static_cast<Compute>(float_of_bf16(static_cast<const uint16_t*>(data)[i]));
    case DType::kFloat16:
      return static_cast<Compute>(float_of_f16(static_cast<const uint16_t*>(data)[i]));
    case DType::kInt32:
      return static_cast<Compute>(static_cast<const int32_t*>(data)[i]);
    case DType::kInt64:
      return static_cast<Compute>(static_cast<const int64_t*>(data)[i]);
    case DType::kUint8:
      return static_cast<Compute>(static_cast<const uint8_t*>(data)[i]);
    default:
      return static_cast<Compute>(static_cast<const uint8_t*>(data)[i] != 0);
  }
}

// Floats that no integer holds saturate, NaN becomes 0.
__device__ __forceinline__ int64_t integer_of(float value, float low, float high) {
  if (!(value == value)) return 0;
  return static_cast<int64_t>(value < low ? low : value > high ? high : value);
}
__device__ __forceinline__ int64_t integer_of(int64_t value, float, float) { return value; }

template <class Compute>
__device__ __forceinline__ void store(void* data, DType dtype, int64_t i, Compute value) {
  switch (dtype) {
    case DType::kFloat32:
      static_cast<float*>(data)[i] = static_cast<float>(value);
      break;
    case DType::kBFloat16:
      static_cast<uint16_t*>(data)[i] = bf16_of_float(static_cast<float>(value));
      break;
    case DType::kFloat16:
      static_cast<uint16_t*>(data)[i] = f16_of_float(static_cast<float>(value));
      break;
    case DType::kInt32:
      static_cast<int32_t*>(data)[i] =
          static_cast<int32_t>(integer_of(value, -0x1p31f, 0x1.fffffep30f));
      break;
    case DType::kInt64:
      static_cast<int64_t*>(data)[i] = integer_of(value, -0x1p63f, 0x1.fffffep62f);
      break;
    case DType::kUint8:
      static_cast<uint8_t*>(data)[i] = static_cast<uint8_t>(integer_of(value, 0.0f, 255.0f));
      break;
    default:
      static_cast<uint8_t*>(data)[i] = value != static_cast<Compute>(0);
  }
}

// Four consecutive elements, the first a multiple of four: one access of up to 16 bytes where the
// dtype is floating.
template <class Compute>
__device__ __forceinline__ void load4(const void* data, DType dtype, int64_t i, Compute (&to)[4]) {
  if (dtype == DType::kFloat32) {
    const float4 four = *reinterpret_cast<const float4*>(static_cast<const float*>(data) + i);
    to[0] = static_cast<Compute>(four.x);
    to[1] = static_cast<Compute>(four.y);
    to[2] = static_cast<Compute>(four.z);
    to[3] = static_cast<Compute>(four.w);
  } else if (dtype == DType::kBFloat16) {
    const uint2 four = *reinterpret_cast<const uint2*>(static_cast<const uint16_t*>(data) + i);
    to[0] = static_cast<Compute>(__uint_as_float(four.x << 16));
    to[1] = static_cast<Compute>(__uint_as_float(four.x & 0xffff0000u));
    to[2] = static_cast<Compute>(__uint_as_float(four.y << 16));
    to[3] = static_cast<Compute>(__uint_as_float(four.y & 0xffff0000u));
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k) to[k] = load<Compute>(data, dtype, i + k);
  }
}
template <class Compute>
__device__ __forceinline__ void store4(void* data, DType dtype, int64_t i,
                                       const Compute (&from)[4]) {
  if (dtype == DType::kFloat32) {
    *reinterpret_cast<float4*>(static_cast<float*>(data) + i) =
        float4{static_cast<float>(from[0]), static_cast<float>(from[1]),
               static_cast<float>(from[2]), static_cast<float>(from[3])};
  } else if (dtype == DType::kBFloat16) {
    uint2 four;
    four.x = static_cast<unsigned>(bf16_of_float(static_cast<float>(from[0]))) |
             static_cast<unsigned>(bf16_of_float(static_cast<float>(from[1]))) << 16;
    four.y = static_cast<unsigned>(bf16_of_float(static_cast<float>(from[2]))) |
             static_cast<unsigned>(bf16_of_float(static_cast<float>(from[3]))) << 16;
    *reinterpret_cast<uint2*>(static_cast<uint16_t*>(data) + i) = four;
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k) store<Compute>(data, dtype, i + k, from[k]);
  }
}

// Up to four consecutive elements, `left` of which exist: by one access where `is_dense`, which
// holds for all or none of a kernel's. Elements behind the end are left as they are.
template <class Compute>
__device__ __forceinline__ void load_run(const void* data, DType dtype, int64_t i, int64_t left,
                                         bool is_dense, Compute (&to)[4]) {
  if (is_dense) return load4<Compute>(data, dtype, i, to);
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    if (e < left) to[e] = load<Compute>(data, dtype, i + e);
  }
}
template <class Compute>
__device__ __forceinline__ void store_run(void* data, DType dtype, int64_t i, int64_t left,
                                          bool is_dense, const Compute (&from)[4]) {
  if (is_dense) return store4<Compute>(data, dtype, i, from);
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    if (e < left) store<Compute>(data, dtype, i + e, from[e]);
  }
}

// As a floating dtype holds it.
__device__ __forceinline__ float rounded(DType dtype, float value) {
  if (dtype == DType::kBFloat16) return float_of_bf16(bf16_of_float(value));
  if (dtype == DType::kFloat16) return float_of_f16(f16_of_float(value));
  return value;
}

// Offsets of operands at a linear position of a loop. 32-bit division where positions fit.
template <int Operands>
struct Walk {
  int ndim;
  bool is_small;
  int64_t shape[kMaxLoopDims];
  int64_t strides[Operands][kMaxLoopDims];

  __device__ __forceinline__ void offsets(int64_t linear, int64_t (&to)[Operands]) const {
#pragma unroll
    for (int k = 0; k < Operands; ++k) to[k] = 0;
    for (int d = ndim - 1; d > 0; --d) {
      int64_t rest, index;
      if (is_small) {
        const auto size = static_cast<unsigned>(shape[d]), n = static_cast<unsigned>(linear);
        rest = n / size;
        index = n % size;
      } else {
        rest = linear / shape[d];
        index = linear % shape[d];
      }
#pragma unroll
      for (int k = 0; k < Operands; ++k) to[k] += index * strides[k][d];
      linear = rest;
    }
#pragma unroll
    for (int k = 0; k < Operands; ++k) to[k] += linear * strides[k][0];
  }
  __device__ __forceinline__ int64_t offset(int64_t linear) const {
    int64_t to[Operands];
    offsets(linear, to);
    return to[0];
  }
};

template <class... Strides>
Walk<sizeof...(Strides)> walk_of(const Loop& loop, const Strides*... strides) {
  Walk<sizeof...(Strides)> walk{};
  walk.ndim = loop.ndim > 0 ? loop.ndim : 1;
  walk.is_small = loop.numel < (int64_t{1} << 31);
  for (int d = 0; d < kMaxLoopDims; ++d) walk.shape[d] = d < loop.ndim ? loop.shape[d] : 1;
  int k = 0;
  (([&] {
     for (int d = 0; d < loop.ndim; ++d) walk.strides[k][d] = strides[d];
     ++k;
   }()),
   ...);
  return walk;
}

// Whether elements of an operand lie one after the other from an address that load4 takes.
inline bool is_dense(const Loop& loop, const Operand& operand) {
  return loop.ndim == 1 && operand.strides[0] == 1 &&
         reinterpret_cast<uintptr_t>(operand.data) % 16 == 0;
}

}  // namespace fms_accel::cuda
