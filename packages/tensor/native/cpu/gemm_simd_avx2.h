// AVX2 with FMA and F16C: 8 lanes, a tile of 6 rows x 16 columns (12 of 16 registers hold sums).
// See cpu/gemm_simd.h.
#pragma once
#include <immintrin.h>

#include "cpu/gemm.h"

namespace fms_accel::FMS_ACCEL_ISA {

constexpr int kLanes = 8, kTileRows = 6, kTileVectors = 2;
constexpr int64_t kPrivateBytes = 128 << 10;

using Floats = __m256;
using Words = __m256i;

FMS_ACCEL_INLINE Floats zero_floats() { return _mm256_setzero_ps(); }
FMS_ACCEL_INLINE Words zero_words() { return _mm256_setzero_si256(); }
FMS_ACCEL_INLINE Floats broadcast(float v) { return _mm256_set1_ps(v); }
FMS_ACCEL_INLINE Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
FMS_ACCEL_INLINE Floats fused_multiply_add(Floats a, Floats b, Floats c) {
  return _mm256_fmadd_ps(a, b, c);
}
FMS_ACCEL_INLINE Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
// b where a is NaN.
FMS_ACCEL_INLINE Floats maximum(Floats a, Floats b) { return _mm256_max_ps(a, b); }
FMS_ACCEL_INLINE float sum_of_lanes(Floats v) {
  const __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}
FMS_ACCEL_INLINE Words words_of(Floats v) { return _mm256_castps_si256(v); }
FMS_ACCEL_INLINE void store_words(uint32_t* p, Words v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
}
FMS_ACCEL_INLINE void prefetch(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
}
FMS_ACCEL_INLINE void prefetch_second_level(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1);
}

// Masks for the first lanes: eight words from kMask + 8 - count on.
alignas(32) constexpr uint32_t kMask[16] = {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u};
FMS_ACCEL_INLINE Words first_lanes(int count) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMask + 8 - (count > 8 ? 8 : count)));
}
FMS_ACCEL_INLINE void store_words(uint32_t* p, Words v, int count) {
  _mm256_maskstore_epi32(reinterpret_cast<int*>(p), first_lanes(count), v);
}

// ---- Elements -----------------------------------------------------------------------------------
FMS_ACCEL_INLINE Floats widen(__m128i bits, const Bf16*) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
FMS_ACCEL_INLINE Floats widen(__m128i bits, const Fp16*) { return _mm256_cvtph_ps(bits); }

FMS_ACCEL_INLINE Floats load_floats(const float* p) { return _mm256_loadu_ps(p); }
FMS_ACCEL_INLINE Floats load_floats(const float* p, int count) {
  return _mm256_maskload_ps(p, first_lanes(count));
}
template <class T>
FMS_ACCEL_INLINE Floats load_floats(const T* p) {
  return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), p);
}
template <class T>
FMS_ACCEL_INLINE Floats load_floats(const T* p, int count) {
  alignas(16) T values[8] = {};
  memcpy(values, p, sizeof(T) * static_cast<size_t>(count > 8 ? 8 : count));
  return load_floats(values);
}

FMS_ACCEL_INLINE Words rounded_bits(Floats v) {
  const Words bits = _mm256_castps_si256(v);
  const Words odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const Words up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const Words nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(up, _mm256_or_si256(bits, _mm256_set1_epi32(0x400000)), nan);
}
FMS_ACCEL_INLINE Floats round_to_bf16(Floats v) {
  return _mm256_castsi256_ps(
      _mm256_and_si256(rounded_bits(v), _mm256_set1_epi32(static_cast<int>(0xffff0000))));
}
FMS_ACCEL_INLINE __m128i narrow(Floats v, const Bf16*) {
  const Words high = _mm256_srli_epi32(rounded_bits(v), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}
FMS_ACCEL_INLINE __m128i narrow(Floats v, const Fp16*) {
  return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT);
}

FMS_ACCEL_INLINE void store_floats(float* p, Floats v) { _mm256_storeu_ps(p, v); }
FMS_ACCEL_INLINE void store_floats(float* p, Floats v, int count) {
  _mm256_maskstore_ps(p, first_lanes(count), v);
}
template <class T>
FMS_ACCEL_INLINE void store_floats(T* p, Floats v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow(v, p));
}
template <class T>
FMS_ACCEL_INLINE void store_floats(T* p, Floats v, int count) {
  alignas(16) T values[8];
  store_floats(values, v);
  memcpy(p, values, sizeof(T) * static_cast<size_t>(count > 8 ? 8 : count));
}

// ---- Transposition ------------------------------------------------------------------------------
// 8 x 8 words, as the 16 x 16 of AVX-512.
FMS_ACCEL_INLINE void transpose(Words r[8]) {
  Words t[8];
  FMS_ACCEL_UNROLL
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
  FMS_ACCEL_UNROLL
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  FMS_ACCEL_UNROLL
  for (int i = 0; i < 4; ++i) {
    const Words low = _mm256_permute2x128_si256(r[i], r[i + 4], 0x20);
    r[i + 4] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x31);
    r[i] = low;
  }
}

}  // namespace fms_accel::FMS_ACCEL_ISA
