// Any machine: 4 lanes through the compiler's vector extension (SSE2 on x86-64, NEON on ARM), a
// tile of 4 rows x 8 columns. See cpu/vectors.h.
#pragma once

#ifdef __aarch64__
#include <arm_neon.h>
#endif

namespace fms_accel::FMS_ACCEL_ISA {

constexpr int kLanes = 4, kTileRows = 4;

typedef float Floats __attribute__((vector_size(16)));
typedef uint32_t Words __attribute__((vector_size(16)));
typedef int32_t Integers __attribute__((vector_size(16)));

FMS_ACCEL_INLINE Floats broadcast(float x) { return Floats{x, x, x, x}; }
FMS_ACCEL_INLINE Words zero_words() { return Words{}; }
FMS_ACCEL_INLINE Floats fused_multiply_add(Floats a, Floats b, Floats c) {
#ifdef __aarch64__
  return (Floats)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;  // two roundings: the baseline has no fused one
#endif
}
FMS_ACCEL_INLINE Floats choose(Integers condition, Floats a, Floats b) {
  return (Floats)(((Words)a & (Words)condition) | ((Words)b & ~(Words)condition));
}
FMS_ACCEL_INLINE Floats maximum(Floats a, Floats b) { return choose(a > b, a, b); }
FMS_ACCEL_INLINE Floats minimum(Floats a, Floats b) { return choose(a < b, a, b); }
FMS_ACCEL_INLINE Floats absolute(Floats x) { return (Floats)((Words)x & 0x7fffffffu); }
FMS_ACCEL_INLINE Floats where_less(Floats x, Floats y, Floats a, Floats b) {
  return choose(x < y, a, b);
}

FMS_ACCEL_INLINE Floats bound_exponent(Floats n) {
  return maximum(broadcast(-127), minimum(broadcast(127), n));
}
// Added and taken off again, 1.5 * 2^23 rounds to an integer.
FMS_ACCEL_INLINE Floats round_to_integer(Floats x) {
  return (x + broadcast(0x1.8p23f)) - broadcast(0x1.8p23f);
}
// The bits of 2^n; of 0 for n = -127.
FMS_ACCEL_INLINE Floats times_power_of_two(Floats x, Floats n) {
  // The sum's low bits hold the integer; a NaN's do not matter, x is NaN too.
  const Words exponent = (Words)(n + broadcast(0x1.8p23f)) + 127;
  return x * (Floats)(exponent << 23);
}
FMS_ACCEL_INLINE Floats exponent_of(Floats x) {
  return __builtin_convertvector((Integers)((Words)x >> 23) - 127, Floats);
}

FMS_ACCEL_INLINE Floats keep_lanes(Floats x, int64_t first, int64_t end, Floats otherwise) {
  const Integers lane = {0, 1, 2, 3};
  const int low = static_cast<int>(clamp(first, 0, 4)), high = static_cast<int>(clamp(end, 0, 4));
  return choose((lane >= Integers{low, low, low, low}) & (lane < Integers{high, high, high, high}),
                x, otherwise);
}
FMS_ACCEL_INLINE float sum_of_lanes(Floats x) { return (x[0] + x[1]) + (x[2] + x[3]); }
FMS_ACCEL_INLINE void store_words(float* p, Words x) { memcpy(p, &x, 16); }

// ---- Elements -----------------------------------------------------------------------------------
FMS_ACCEL_INLINE float float_of_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}
FMS_ACCEL_INLINE uint32_t bits_of_float(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}
FMS_ACCEL_INLINE float widen(Bf16 x) { return float_of_bits(static_cast<uint32_t>(x.bits) << 16); }
FMS_ACCEL_INLINE void narrow(float x, Bf16* to) {
  const uint32_t bits = bits_of_float(x);
  to->bits =
      static_cast<uint16_t>(x != x ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
#ifdef __aarch64__
FMS_ACCEL_INLINE float widen(Fp16 x) {
  __fp16 half;
  memcpy(&half, &x, 2);
  return half;
}
FMS_ACCEL_INLINE void narrow(float x, Fp16* to) {
  const __fp16 half = static_cast<__fp16>(x);
  memcpy(to, &half, 2);
}
#else
// Exponent and mantissa in their places, times 2^112: right for subnormal numbers too. The largest
// exponent stands for infinity and NaN.
FMS_ACCEL_INLINE float widen(Fp16 x) {
  const uint32_t size = x.bits & 0x7fffu;
  uint32_t bits = bits_of_float(float_of_bits(size << 13) * 0x1p112f);
  if (size >= 0x7c00) bits |= 0x7f800000;
  return float_of_bits(bits | (x.bits & 0x8000u) << 16);
}
FMS_ACCEL_INLINE void narrow(float x, Fp16* to) {
  const uint32_t bits = bits_of_float(x), size = bits & 0x7fffffff, sign = bits >> 16 & 0x8000;
  uint32_t half;
  if (size > 0x7f800000)
    half = 0x7e00;
  else if (size >= 0x47800000)
    half = 0x7c00;
  else if (size < 0x38800000)  // subnormal: adding 1/2 rounds to a multiple of 2^-24
    half = bits_of_float(float_of_bits(size) + 0.5f) - 0x3f000000;
  else
    half = (size + 0xfff + (size >> 13 & 1) - 0x38000000) >> 13;
  to->bits = static_cast<uint16_t>(sign | half);
}
#endif

FMS_ACCEL_INLINE Floats load_floats(const float* p) {
  Floats x;
  memcpy(&x, p, 16);
  return x;
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
FMS_ACCEL_INLINE void store_floats(float* p, Floats x) { memcpy(p, &x, 16); }
template <class T>
FMS_ACCEL_INLINE void store_floats(T* p, Floats x) {
  for (int i = 0; i < 4; ++i) narrow(x[i], p + i);
}
template <class T>
FMS_ACCEL_INLINE void store_floats(T* p, Floats x, int count) {
  T values[4];
  store_floats(values, x);
  memcpy(p, values, sizeof(T) * static_cast<size_t>(count > 4 ? 4 : count));
}

FMS_ACCEL_INLINE void transpose(Words r[4]) {
  const Words a = r[0], b = r[1], c = r[2], d = r[3];
  FMS_ACCEL_UNROLL
  for (int i = 0; i < 4; ++i) r[i] = Words{a[i], b[i], c[i], d[i]};
}

}  // namespace fms_accel::FMS_ACCEL_ISA
