// AVX-512: 16 lanes, a tile of 14 rows x 32 columns (28 of 32 registers hold sums). See
// cpu/vectors.h.
#pragma once
#include <immintrin.h>

namespace fms_accel::FMS_ACCEL_ISA {

constexpr int kLanes = 16, kTileRows = 14;

using Floats = __m512;
using Words = __m512i;

FMS_ACCEL_INLINE Floats broadcast(float x) { return _mm512_set1_ps(x); }
FMS_ACCEL_INLINE Words zero_words() { return _mm512_setzero_si512(); }
FMS_ACCEL_INLINE Floats fused_multiply_add(Floats a, Floats b, Floats c) {
  return _mm512_fmadd_ps(a, b, c);
}
FMS_ACCEL_INLINE Floats maximum(Floats a, Floats b) { return _mm512_max_ps(a, b); }
FMS_ACCEL_INLINE Floats minimum(Floats a, Floats b) { return _mm512_min_ps(a, b); }
FMS_ACCEL_INLINE Floats absolute(Floats x) { return _mm512_abs_ps(x); }
FMS_ACCEL_INLINE Floats where_less(Floats x, Floats y, Floats a, Floats b) {
  return _mm512_mask_mov_ps(b, _mm512_cmp_ps_mask(x, y, _CMP_LT_OQ), a);
}

// vscalefps takes any finite exponent.
FMS_ACCEL_INLINE Floats bound_exponent(Floats n) { return n; }
FMS_ACCEL_INLINE Floats round_to_integer(Floats x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
FMS_ACCEL_INLINE Floats times_power_of_two(Floats x, Floats n) { return _mm512_scalef_ps(x, n); }
FMS_ACCEL_INLINE Floats exponent_of(Floats x) { return _mm512_getexp_ps(x); }

FMS_ACCEL_INLINE Floats keep_lanes(Floats x, int64_t first, int64_t end, Floats otherwise) {
  const uint32_t below_end = (1u << clamp(end, 0, 16)) - 1,
                 below_first = (1u << clamp(first, 0, 16)) - 1;
  return _mm512_mask_mov_ps(otherwise, static_cast<__mmask16>(below_end & ~below_first), x);
}

FMS_ACCEL_INLINE float sum_of_lanes(Floats x) { return _mm512_reduce_add_ps(x); }

FMS_ACCEL_INLINE __mmask16 first_lanes(int count) {
  return static_cast<__mmask16>(count >= 16 ? 0xffff : (1u << count) - 1);
}
FMS_ACCEL_INLINE void store_words(float* p, Words x) { _mm512_storeu_si512(p, x); }

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

FMS_ACCEL_INLINE __m256i narrow(Floats x, const Bf16*) {
#ifdef __AVX512BF16__
  return (__m256i)_mm512_cvtneps_pbh(x);
#else
  const Words bits = _mm512_castps_si512(x);
  const Words odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const Words up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  const Words rounded = _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
#endif
}
FMS_ACCEL_INLINE __m256i narrow(Floats x, const Fp16*) {
  return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
}

FMS_ACCEL_INLINE void store_floats(float* p, Floats x) { _mm512_storeu_ps(p, x); }
FMS_ACCEL_INLINE void store_floats(float* p, Floats x, int count) {
  _mm512_mask_storeu_ps(p, first_lanes(count), x);
}
template <class T>
FMS_ACCEL_INLINE void store_floats(T* p, Floats x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(x, p));
}
template <class T>
FMS_ACCEL_INLINE void store_floats(T* p, Floats x, int count) {
  _mm256_mask_storeu_epi16(p, first_lanes(count), narrow(x, p));
}

// ---- Transposition ------------------------------------------------------------------------------
// Pairs, then quadruples of neighbouring rows are interleaved within 128-bit lanes, then the lanes
// change places.
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
  static constexpr int kPair = 2;

  FMS_ACCEL_INLINE Floats multiply_add(Floats a, Floats b, Floats c) {
    return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
  }

  FMS_ACCEL_INLINE Words load(const Bf16* p) { return _mm512_loadu_si512(p); }
  FMS_ACCEL_INLINE Words load(const Bf16* p, int64_t count) {
    return _mm512_maskz_loadu_epi16(count >= 32 ? ~0u : (1u << count) - 1, p);
  }
  template <class T>
  FMS_ACCEL_INLINE Words load(const T* p) {
    return (Words)_mm512_cvtne2ps_pbh(load_floats(p + 16), load_floats(p));
  }
  template <class T>
  FMS_ACCEL_INLINE Words load(const T* p, int64_t count) {
    const Floats high =
        count > 16 ? load_floats(p + 16, static_cast<int>(count - 16)) : _mm512_setzero_ps();
    return (Words)_mm512_cvtne2ps_pbh(high, load_floats(p, static_cast<int>(count)));
  }

  // 32 lanes in memory order: as rows of the next product these are 16 ready pairs.
  FMS_ACCEL_INLINE Words round(Floats low, Floats high) {
    return (Words)_mm512_cvtne2ps_pbh(high, low);
  }
  FMS_ACCEL_INLINE void store(float* p, Floats low, Floats high) {
    store_words(p, round(low, high));
  }

  // Two rows of 32 numbers to 32 pairs, one of each row.
  FMS_ACCEL_INLINE void interleave(Words even, Words odd, float* to) {
    const Words first = _mm512_set_epi32(0x2f000f, 0x2e000e, 0x2d000d, 0x2c000c, 0x2b000b, 0x2a000a,
                                         0x290009, 0x280008, 0x270007, 0x260006, 0x250005, 0x240004,
                                         0x230003, 0x220002, 0x210001, 0x200000),
                second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
    _mm512_storeu_si512(to, _mm512_permutex2var_epi16(even, first, odd));
    _mm512_storeu_si512(to + 16, _mm512_permutex2var_epi16(even, second, odd));
  }
};
#endif

}  // namespace fms_accel::FMS_ACCEL_ISA
