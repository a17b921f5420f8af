// AVX2 with FMA and F16C: 8 lanes, a tile of 6 rows x 16 columns (12 of 16 registers hold sums).
// See cpu/vectors.h.
#pragma once
#include <immintrin.h>

namespace fms_accel::FMS_ACCEL_ISA {

constexpr int kLanes = 8, kTileRows = 6;

using Floats = __m256;
using Words = __m256i;

FMS_ACCEL_INLINE Floats broadcast(float x) { return _mm256_set1_ps(x); }
FMS_ACCEL_INLINE Words zero_words() { return _mm256_setzero_si256(); }
FMS_ACCEL_INLINE Floats fused_multiply_add(Floats a, Floats b, Floats c) {
  return _mm256_fmadd_ps(a, b, c);
}
FMS_ACCEL_INLINE Floats maximum(Floats a, Floats b) { return _mm256_max_ps(a, b); }
FMS_ACCEL_INLINE Floats minimum(Floats a, Floats b) { return _mm256_min_ps(a, b); }
FMS_ACCEL_INLINE Floats absolute(Floats x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }
FMS_ACCEL_INLINE Floats where_less(Floats x, Floats y, Floats a, Floats b) {
  return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, y, _CMP_LT_OQ));
}

FMS_ACCEL_INLINE Floats bound_exponent(Floats n) { return maximum(broadcast(-127), n); }
FMS_ACCEL_INLINE Floats round_to_integer(Floats x) {
  return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// The bits of 2^n; of 0 for n = -127.
FMS_ACCEL_INLINE Floats times_power_of_two(Floats x, Floats n) {
  const Words exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}
FMS_ACCEL_INLINE Floats exponent_of(Floats x) {
  const Words exponent = _mm256_srli_epi32(_mm256_castps_si256(x), 23);
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(exponent, _mm256_set1_epi32(127)));
}

FMS_ACCEL_INLINE Floats keep_lanes(Floats x, int64_t first, int64_t end, Floats otherwise) {
  const Words lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const Words below_first =
      _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(clamp(first, 0, 8))), lane);
  const Words below_end =
      _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(clamp(end, 0, 8))), lane);
  return _mm256_blendv_ps(otherwise, x,
                          _mm256_castsi256_ps(_mm256_andnot_si256(below_first, below_end)));
}

FMS_ACCEL_INLINE float sum_of_lanes(Floats x) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// Masks for the first lanes: eight words from kMask + 8 - count on.
alignas(32) constexpr uint32_t kMask[16] = {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u};
FMS_ACCEL_INLINE Words first_lanes(int count) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMask + 8 - (count > 8 ? 8 : count)));
}
FMS_ACCEL_INLINE void store_words(float* p, Words x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x);
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

FMS_ACCEL_INLINE __m128i narrow(Floats x, const Bf16*) {
  const Words bits = _mm256_castps_si256(x);
  const Words odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const Words up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const Words nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const Words rounded =
      _mm256_blendv_epi8(up, _mm256_or_si256(bits, _mm256_set1_epi32(0x400000)), nan);
  const Words high = _mm256_srli_epi32(rounded, 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}
FMS_ACCEL_INLINE __m128i narrow(Floats x, const Fp16*) {
  return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
}

FMS_ACCEL_INLINE void store_floats(float* p, Floats x) { _mm256_storeu_ps(p, x); }
FMS_ACCEL_INLINE void store_floats(float* p, Floats x, int count) {
  _mm256_maskstore_ps(p, first_lanes(count), x);
}
template <class T>
FMS_ACCEL_INLINE void store_floats(T* p, Floats x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow(x, p));
}
template <class T>
FMS_ACCEL_INLINE void store_floats(T* p, Floats x, int count) {
  alignas(16) T values[8];
  store_floats(values, x);
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
