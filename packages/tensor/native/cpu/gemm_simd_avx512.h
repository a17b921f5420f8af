// AVX-512: 16 lanes, a tile of 14 rows x 32 columns (28 of 32 registers hold sums). See
// cpu/gemm_simd.h.
#pragma once
#include <immintrin.h>

#include "cpu/gemm.h"

namespace fms_accel::FMS_ACCEL_ISA {

constexpr int kLanes = 16, kTileRows = 14, kTileVectors = 2;
constexpr int64_t kPrivateBytes = 400 << 10;

using Floats = __m512;
using Words = __m512i;

FMS_ACCEL_INLINE Floats zero_floats() { return _mm512_setzero_ps(); }
FMS_ACCEL_INLINE Words zero_words() { return _mm512_setzero_si512(); }
FMS_ACCEL_INLINE Floats broadcast(float v) { return _mm512_set1_ps(v); }
FMS_ACCEL_INLINE Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
FMS_ACCEL_INLINE Floats fused_multiply_add(Floats a, Floats b, Floats c) {
  return _mm512_fmadd_ps(a, b, c);
}
FMS_ACCEL_INLINE Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
// b where a is NaN.
FMS_ACCEL_INLINE Floats maximum(Floats a, Floats b) { return _mm512_max_ps(a, b); }
// The sum of all lanes, in pairs: halves are added until one lane is left.
FMS_ACCEL_INLINE float sum_of_lanes(Floats v) {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  const __m128 pair = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
  return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}
FMS_ACCEL_INLINE Words words_of(Floats v) { return _mm512_castps_si512(v); }
FMS_ACCEL_INLINE void store_words(uint32_t* p, Words v) { _mm512_storeu_si512(p, v); }
FMS_ACCEL_INLINE void store_words(uint32_t* p, Words v, int count) {
  _mm512_mask_storeu_epi32(p, static_cast<__mmask16>((1u << count) - 1), v);
}
FMS_ACCEL_INLINE void prefetch(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
}
FMS_ACCEL_INLINE void prefetch_second_level(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1);
}

FMS_ACCEL_INLINE __mmask16 first_lanes(int count) {
  return static_cast<__mmask16>(count >= 16 ? 0xffff : (1u << count) - 1);
}

// ---- Elements -----------------------------------------------------------------------------------
FMS_ACCEL_INLINE Floats widen(__m256i bits, const Bf16*) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
FMS_ACCEL_INLINE Floats widen(__m256i bits, const Fp16*) { return _mm512_cvtph_ps(bits); }

FMS_ACCEL_INLINE Floats load_floats(const float* p) { return _mm512_loadu_ps(p); }
FMS_ACCEL_INLINE Floats load_floats(const float* p, int count) {
  return _mm512_maskz_loadu_ps(first_lanes(count), p);
}
template <class T>
FMS_ACCEL_INLINE Floats load_floats(const T* p) {
  return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), p);
}
template <class T>
FMS_ACCEL_INLINE Floats load_floats(const T* p, int count) {
  return widen(_mm256_maskz_loadu_epi16(first_lanes(count), p), p);
}

FMS_ACCEL_INLINE Words rounded_bits(Floats v) {
  const Words bits = _mm512_castps_si512(v);
  const Words odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const Words up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  return _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000));
}
FMS_ACCEL_INLINE Floats round_to_bf16(Floats v) {
  return _mm512_castsi512_ps(
      _mm512_and_si512(rounded_bits(v), _mm512_set1_epi32(static_cast<int>(0xffff0000))));
}
FMS_ACCEL_INLINE __m256i narrow(Floats v, const Bf16*) {
#ifdef __AVX512BF16__
  return (__m256i)_mm512_cvtneps_pbh(v);
#else
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded_bits(v), 16));
#endif
}
FMS_ACCEL_INLINE __m256i narrow(Floats v, const Fp16*) {
  return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT);
}

FMS_ACCEL_INLINE void store_floats(float* p, Floats v) { _mm512_storeu_ps(p, v); }
FMS_ACCEL_INLINE void store_floats(float* p, Floats v, int count) {
  _mm512_mask_storeu_ps(p, first_lanes(count), v);
}
template <class T>
FMS_ACCEL_INLINE void store_floats(T* p, Floats v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(v, p));
}
template <class T>
FMS_ACCEL_INLINE void store_floats(T* p, Floats v, int count) {
  _mm256_mask_storeu_epi16(p, first_lanes(count), narrow(v, p));
}

// ---- Transposition ------------------------------------------------------------------------------
// 16 x 16 words: pairs, then quadruples of neighbouring rows are interleaved within 128-bit lanes,
// then the lanes change places.
FMS_ACCEL_INLINE void transpose(Words r[16]) {
  Words t[16];
  FMS_ACCEL_UNROLL
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  FMS_ACCEL_UNROLL
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  FMS_ACCEL_UNROLL
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  FMS_ACCEL_UNROLL
  for (int i = 0; i < 8; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
  }
}

// ---- Products of bfloat16 -----------------------------------------------------------------------
#ifdef __AVX512BF16__
struct PairStep {
  static constexpr int kValues = 2;

  FMS_ACCEL_INLINE Floats multiply_add(Floats a, Floats b, Floats c) {
    return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
  }

  // 32 values along k.
  FMS_ACCEL_INLINE Words load(const Bf16* p) { return _mm512_loadu_si512(p); }
  FMS_ACCEL_INLINE Words load(const Bf16* p, int values) {
    return _mm512_maskz_loadu_epi16(values >= 32 ? ~0u : (1u << values) - 1, p);
  }
  template <class T>
  FMS_ACCEL_INLINE Words load(const T* p) {
    return (Words)_mm512_cvtne2ps_pbh(load_floats(p + 16), load_floats(p));
  }
  template <class T>
  FMS_ACCEL_INLINE Words load(const T* p, int values) {
    const Floats high = values > 16 ? load_floats(p + 16, values - 16) : zero_floats();
    return (Words)_mm512_cvtne2ps_pbh(high, load_floats(p, values));
  }

  // 16 lanes of row k (low halves) and row k + 1 (high halves).
  FMS_ACCEL_INLINE Words interleave(const Bf16* low, const Bf16* high) {
    const Words l =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(low)));
    const Words h =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(high)));
    return _mm512_or_si512(l, _mm512_slli_epi32(h, 16));
  }
  template <class T>
  FMS_ACCEL_INLINE Words interleave(const T* low, const T* high) {
    return _mm512_permutexvar_epi16(
        interleaving(), (Words)_mm512_cvtne2ps_pbh(load_floats(high), load_floats(low)));
  }
  // The same for the first `count` lanes, and without a row k + 1 where `high` is null.
  FMS_ACCEL_INLINE Words interleave(const Bf16* low, const Bf16* high, int count) {
    const Words l = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first_lanes(count), low));
    if (high == nullptr) return l;
    const Words h = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first_lanes(count), high));
    return _mm512_or_si512(l, _mm512_slli_epi32(h, 16));
  }
  template <class T>
  FMS_ACCEL_INLINE Words interleave(const T* low, const T* high, int count) {
    const Words halves = (Words)_mm512_cvtne2ps_pbh(
        high == nullptr ? zero_floats() : load_floats(high, count), load_floats(low, count));
    return _mm512_permutexvar_epi16(interleaving(), halves);
  }
  // 32 lanes at once: half the instructions.
  FMS_ACCEL_INLINE void interleave_two(const Bf16* low, const Bf16* high, uint32_t* to) {
    const Words first = interleaving_of_two(),
                second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
    const Words l = _mm512_loadu_si512(low), h = _mm512_loadu_si512(high);
    _mm512_storeu_si512(to, _mm512_permutex2var_epi16(l, first, h));
    _mm512_storeu_si512(to + 16, _mm512_permutex2var_epi16(l, second, h));
  }

 private:
  // Half i of the result is half i / 2 of the low (even i) or high (odd i) 16 halves.
  FMS_ACCEL_INLINE Words interleaving() {
    return _mm512_set_epi32(0x1f000f, 0x1e000e, 0x1d000d, 0x1c000c, 0x1b000b, 0x1a000a, 0x190009,
                            0x180008, 0x170007, 0x160006, 0x150005, 0x140004, 0x130003, 0x120002,
                            0x110001, 0x100000);
  }
  // The same with the high halves in a second register (index bit 5).
  FMS_ACCEL_INLINE Words interleaving_of_two() {
    return _mm512_add_epi32(interleaving(), _mm512_set1_epi32(0x100000));
  }
};
#endif

}  // namespace fms_accel::FMS_ACCEL_ISA
