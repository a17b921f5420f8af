// The vectors that GEMM is written in. Each instruction set brings
//
//   kLanes, kTileRows, kTileVectors   lanes of a vector; the register tile: rows of A x vectors of
//   B kPrivateBytes                     packed operand that one thread works on: its share of the
//   second-level cache Floats, Words                     kLanes floats; the same bits as uint32_t
//   load_floats(p[, count])           elements to float32, lanes from `count` on are 0
//   store_floats(p, v[, count])       float32 to elements, rounded to nearest even
//   round_to_bf16(v)                  float32 values that bfloat16 can hold; NaN stays NaN
//   sum_of_lanes(v)                   in a fixed order
//   transpose(r)                      kLanes vectors of Words in place
//
// and the kinds of step (cpu/gemm.h): FloatStep, RoundedStep (rounded to bfloat16, multiplied in
// float32) and, where products of bfloat16 exist, PairStep. Compute::kBFloat16 is Bf16Step:
// PairStep or RoundedStep.
//
// Code of one instruction set must never run on a machine without it. Everything here is in a
// namespace of its own and kernel sources use no template of the standard library: an inline
// std::min that was emitted here with AVX-512 could be the copy that the linker keeps for
// everybody. `nm -C` on kernel objects must show no weak symbol (W, V, u) outside of the namespace.
#pragma once
#include <cstdint>
#include <cstring>

#include "cpu/elements.h"

#define FMS_ACCEL_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define FMS_ACCEL_UNROLL _Pragma("unroll")
#else
#define FMS_ACCEL_UNROLL _Pragma("GCC unroll 16")
#endif

namespace fms_accel::FMS_ACCEL_ISA {

struct Bf16 {
  uint16_t bits;
};
struct Fp16 {
  uint16_t bits;
};

FMS_ACCEL_INLINE int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
FMS_ACCEL_INLINE int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }
FMS_ACCEL_INLINE int64_t clamp_of(int64_t v, int64_t low, int64_t high) {
  return max_of(low, min_of(v, high));
}
FMS_ACCEL_INLINE int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Calls body with an element of the type of a floating `dtype`.
template <class Body>
FMS_ACCEL_INLINE void with_floating(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kBFloat16:
      return body(Bf16());
    case DType::kFloat16:
      return body(Fp16());
    default:
      return body(float());
  }
}

}  // namespace fms_accel::FMS_ACCEL_ISA

#if defined(__AVX512F__)
#include "cpu/gemm_simd_avx512.h"
#elif defined(__AVX2__)
#include "cpu/gemm_simd_avx2.h"
#else
#include "cpu/gemm_simd_portable.h"
#endif

namespace fms_accel::FMS_ACCEL_ISA {

constexpr int64_t kTileColumns = kTileVectors * kLanes;
// Panels are stored with whole vectors, whose surplus the next step overwrites.
static_assert(kTileRows <= kLanes, "a panel of A must fit into one vector");

struct FloatStep {
  static constexpr int kValues = 1;
  FMS_ACCEL_INLINE Floats multiply_add(Floats a, Floats b, Floats c) {
    return fused_multiply_add(a, b, c);
  }
  template <class T>
  FMS_ACCEL_INLINE Words load(const T* p) {
    return words_of(load_floats(p));
  }
  template <class T>
  FMS_ACCEL_INLINE Words load(const T* p, int values) {
    return words_of(load_floats(p, values));
  }
};

struct RoundedStep {
  static constexpr int kValues = 1;
  FMS_ACCEL_INLINE Floats multiply_add(Floats a, Floats b, Floats c) {
    return fused_multiply_add(a, b, c);
  }
  template <class T>
  FMS_ACCEL_INLINE Words load(const T* p) {
    if constexpr (__is_same(T, Bf16))
      return words_of(load_floats(p));
    else
      return words_of(round_to_bf16(load_floats(p)));
  }
  template <class T>
  FMS_ACCEL_INLINE Words load(const T* p, int values) {
    if constexpr (__is_same(T, Bf16))
      return words_of(load_floats(p, values));
    else
      return words_of(round_to_bf16(load_floats(p, values)));
  }
};

#ifdef __AVX512BF16__
using Bf16Step = PairStep;
#else
using Bf16Step = RoundedStep;
#endif

// Calls body with the kind of step of `compute`.
template <class Body>
FMS_ACCEL_INLINE void with_step(Compute compute, const Body& body) {
  if (compute == Compute::kBFloat16) return body(Bf16Step());
  return body(FloatStep());
}

}  // namespace fms_accel::FMS_ACCEL_ISA
