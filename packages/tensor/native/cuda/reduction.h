// Reductions within a warp and a block, in an order that is fixed by the number of threads.
#pragma once
#include "cuda/gpu.h"

namespace fms_accel::cuda {

// What a reduction joins: Total, its neutral element, and join. NaN wins over every number.
template <class T>
struct Sum {
  using Total = T;
  static __device__ __forceinline__ T neutral() { return static_cast<T>(0); }
  static __device__ __forceinline__ T join(T a, T b) { return a + b; }
};
template <>
struct Sum<int64_t> {
  using Total = int64_t;
  static __device__ __forceinline__ int64_t neutral() { return 0; }
  static __device__ __forceinline__ int64_t join(int64_t a, int64_t b) {
    return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  }
};
template <class T>
struct Largest;
template <>
struct Largest<float> {
  using Total = float;
  static __device__ __forceinline__ float neutral() { return -infinity(); }
  static __device__ __forceinline__ float join(float a, float b) {
    return a != a ? a : b > a || b != b ? b : a;
  }
};
template <>
struct Largest<int64_t> {
  using Total = int64_t;
  static __device__ __forceinline__ int64_t neutral() { return INT64_MIN; }
  static __device__ __forceinline__ int64_t join(int64_t a, int64_t b) { return b > a ? b : a; }
};
template <class T>
struct Smallest;
template <>
struct Smallest<float> {
  using Total = float;
  static __device__ __forceinline__ float neutral() { return infinity(); }
  static __device__ __forceinline__ float join(float a, float b) {
    return a != a ? a : b < a || b != b ? b : a;
  }
};
template <>
struct Smallest<int64_t> {
  using Total = int64_t;
  static __device__ __forceinline__ int64_t neutral() { return INT64_MAX; }
  static __device__ __forceinline__ int64_t join(int64_t a, int64_t b) { return b < a ? b : a; }
};

template <class Op>
__device__ __forceinline__ typename Op::Total warp_join(typename Op::Total value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    value = Op::join(value, __shfl_xor_sync(kFullMask, value, distance));
  return value;
}

// The join over a block of `Threads`, given to every thread; whole warps only.
template <class Op, int Threads>
__device__ __forceinline__ typename Op::Total block_join(typename Op::Total value) {
  using Total = typename Op::Total;
  constexpr int kWarps = Threads / 32;
  SHARED(parts, Total[kWarps]);
  value = warp_join<Op>(value);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  value = parts[0];
#pragma unroll
  for (int w = 1; w < kWarps; ++w) value = Op::join(value, parts[w]);
  __syncthreads();  // parts may be written again
  return value;
}

}  // namespace fms_accel::cuda
