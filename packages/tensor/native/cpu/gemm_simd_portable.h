// Any machine: vectors of 4 lanes through the compiler's vector extension (SSE2 on x86-64, NEON on
// ARM). See cpu/gemm_simd.h.
#pragma once
#include "cpu/gemm.h"

#ifdef __aarch64__
#include <arm_neon.h>
#endif

namespace fms_accel::FMS_ACCEL_ISA {

constexpr int kLanes = 4, kTileRows = 4;
#ifdef __aarch64__
constexpr int kTileVectors = 4;  // of 32 registers, 16 hold sums
#else
constexpr int kTileVectors = 2;  // of 16 registers, 8 hold sums
#endif
constexpr int64_t kPrivateBytes = 128 << 10;

typedef float Floats __attribute__((vector_size(16)));
typedef uint32_t Words __attribute__((vector_size(16)));

FMS_ACCEL_INLINE Floats zero_floats() { return Floats{}; }
FMS_ACCEL_INLINE Words zero_words() { return Words{}; }
FMS_ACCEL_INLINE Floats broadcast(float v) { return Floats{v, v, v, v}; }
FMS_ACCEL_INLINE Floats add(Floats a, Floats b) { return a + b; }
FMS_ACCEL_INLINE Floats multiply(Floats a, Floats b) { return a * b; }
// b where a is NaN.
FMS_ACCEL_INLINE Floats maximum(Floats a, Floats b) { return a > b ? a : b; }
FMS_ACCEL_INLINE Floats fused_multiply_add(Floats a, Floats b, Floats c) {
#ifdef __aarch64__
  return (Floats)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;              // two roundings: the baseline has no fused one
#endif
}
FMS_ACCEL_INLINE float sum_of_lanes(Floats v) { return (v[0] + v[2]) + (v[1] + v[3]); }
FMS_ACCEL_INLINE Words words_of(Floats v) { return (Words)v; }
FMS_ACCEL_INLINE void store_words(uint32_t* p, Words v) { memcpy(p, &v, 16); }
FMS_ACCEL_INLINE void store_words(uint32_t* p, Words v, int count) {
  memcpy(p, &v, 4 * static_cast<size_t>(count));
}
FMS_ACCEL_INLINE void prefetch(const void* p) { __builtin_prefetch(p, 0, 3); }
FMS_ACCEL_INLINE void prefetch_second_level(const void* p) { __builtin_prefetch(p, 0, 2); }

FMS_ACCEL_INLINE float widen(Bf16 v) { return float_of_bf16(v.bits); }
FMS_ACCEL_INLINE float widen(Fp16 v) { return float_of_f16(v.bits); }
FMS_ACCEL_INLINE void narrow(float v, Bf16* to) { to->bits = bf16_of_float(v); }
FMS_ACCEL_INLINE void narrow(float v, Fp16* to) { to->bits = f16_of_float(v); }

FMS_ACCEL_INLINE Floats load_floats(const float* p) {
  Floats v;
  memcpy(&v, p, 16);
  return v;
}
template <class T>
FMS_ACCEL_INLINE Floats load_floats(const T* p) {
  return Floats{widen(p[0]), widen(p[1]), widen(p[2]), widen(p[3])};
}
template <class T>
FMS_ACCEL_INLINE Floats load_floats(const T* p, int count) {
  T values[4] = {};
  memcpy(values, p, sizeof(T) * static_cast<size_t>(count > 4 ? 4 : count));
  return load_floats(values);
}
FMS_ACCEL_INLINE void store_floats(float* p, Floats v) { memcpy(p, &v, 16); }
template <class T>
FMS_ACCEL_INLINE void store_floats(T* p, Floats v) {
  for (int i = 0; i < 4; ++i) narrow(v[i], p + i);
}
template <class T>
FMS_ACCEL_INLINE void store_floats(T* p, Floats v, int count) {
  T values[4];
  store_floats(values, v);
  memcpy(p, values, sizeof(T) * static_cast<size_t>(count > 4 ? 4 : count));
}
FMS_ACCEL_INLINE Floats round_to_bf16(Floats v) {
  const Words bits = (Words)v;
  const Words rounded = bits + 0x7fff + ((bits >> 16) & 1);
  const Words nan = (Words)(v != v);
  return (Floats)(((rounded & ~nan) | ((bits | 0x400000) & nan)) & 0xffff0000);
}

FMS_ACCEL_INLINE void transpose(Words r[4]) {
  const Words a = r[0], b = r[1], c = r[2], d = r[3];
  FMS_ACCEL_UNROLL
  for (int i = 0; i < 4; ++i) r[i] = Words{a[i], b[i], c[i], d[i]};
}

}  // namespace fms_accel::FMS_ACCEL_ISA
