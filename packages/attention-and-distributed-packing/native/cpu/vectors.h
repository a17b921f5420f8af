// The vectors that attention is written in. Each instruction set brings
//
//   kLanes, kTileRows            lanes of a vector; rows of the register tile (even, at most
//   kLanes) Floats, Words                kLanes floats, with + - * /; the same bits as uint32_t
//   broadcast(x)
//   fused_multiply_add(a, b, c)  a * b + c
//   maximum(a, b), minimum(a, b) b where either is NaN
//   where_less(x, y, a, b)       a where x < y, else b
//   absolute(x)
//   round_to_integer(x), times_power_of_two(x, n), bound_exponent(n)
//   exponent_of(x)               n of x = 2^n * f with 1 <= f < 2, where x is positive and normal
//   keep_lanes(x, first, end, y) lanes [first, end) of x, the others of y; any bounds
//   sum_of_lanes(x)
//   load_floats(p[, count])      elements to float32; lanes from `count` on are 0
//   store_floats(p, x[, count])  float32 to elements, rounded to nearest even
//   store_words(p, x)
//   transpose(rows)              kLanes vectors of Words in place
//
// and, where the machine multiplies pairs of bfloat16, PairStep (see FloatStep below).
//
// Code of one instruction set must never run on a machine without it: everything here lives in a
// namespace of its own and uses no template of the standard library, whose instances the linker
// would share.
#pragma once
#include <cstdint>
#include <cstring>

#include "cpu/kernels.h"

#ifndef FMS_ACCEL_ISA
#error "kernel sources are compiled once for each instruction set, with -DFMS_ACCEL_ISA=<name>"
#endif

#define FMS_ACCEL_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define FMS_ACCEL_UNROLL _Pragma("unroll")
#else
#define FMS_ACCEL_UNROLL _Pragma("GCC unroll 32")
#endif

namespace fms_accel::FMS_ACCEL_ISA {

struct Bf16 {
  uint16_t bits;
};
struct Fp16 {
  uint16_t bits;
};

FMS_ACCEL_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
FMS_ACCEL_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
FMS_ACCEL_INLINE int64_t clamp(int64_t x, int64_t low, int64_t high) {
  return larger(low, smaller(x, high));
}
constexpr int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

}  // namespace fms_accel::FMS_ACCEL_ISA

#if defined(__AVX512F__)
#include "cpu/vectors_avx512.h"
#elif defined(__AVX2__)
#include "cpu/vectors_avx2.h"
#else
#include "cpu/vectors_portable.h"
#endif

namespace fms_accel::FMS_ACCEL_ISA {

static_assert(kTileRows <= kLanes && kTileRows % 2 == 0);
// Columns of the register tile: two vectors.
constexpr int kTileColumns = 2 * kLanes;

// A product runs over units of the summed dimension: 32 bits, a float here and a pair of bfloat16
// in PairStep.
struct FloatStep {
  static constexpr int kPair = 1;
  FMS_ACCEL_INLINE Floats multiply_add(Floats a, Floats b, Floats c) {
    return fused_multiply_add(a, b, c);
  }
  // kLanes units of a row; those of `count` numbers, then 0.
  template <class T>
  FMS_ACCEL_INLINE Words load(const T* p) {
    return (Words)load_floats(p);
  }
  template <class T>
  FMS_ACCEL_INLINE Words load(const T* p, int64_t count) {
    return (Words)load_floats(p, static_cast<int>(count));
  }
  // 2 * kLanes numbers as units.
  FMS_ACCEL_INLINE void store(float* p, Floats low, Floats high) {
    store_floats(p, low);
    store_floats(p + kLanes, high);
  }
};

// Calls body with the kind of step that the machine has for these arguments.
template <class Body>
FMS_ACCEL_INLINE void with_step(const Attention& a, const Body& body) {
#ifdef __AVX512BF16__
  if (a.in_bfloat16) return body(PairStep());
#else
  (void)a;
#endif
  body(FloatStep());
}

// Calls body with an element of the type of `dtype`.
template <class Body>
FMS_ACCEL_INLINE void with_element(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kBFloat16:
      return body(Bf16());
    case DType::kFloat16:
      return body(Fp16());
    default:
      return body(float());
  }
}

// 2^x for x <= 127, relative error 1e-7; 0 below -127. A minimax polynomial (Remez exchange) on
// [-1/2, 1/2]. NaN stays NaN.
FMS_ACCEL_INLINE Floats exp2_of(Floats x) {
  const Floats bounded = bound_exponent(x), n = round_to_integer(bounded), f = bounded - n;
  Floats p = broadcast(0.0013276472f);
  p = fused_multiply_add(p, f, broadcast(0.00967554133f));
  p = fused_multiply_add(p, f, broadcast(0.0555071327f));
  p = fused_multiply_add(p, f, broadcast(0.240221197f));
  p = fused_multiply_add(p, f, broadcast(0.693146967f));
  p = fused_multiply_add(p, f, broadcast(1.00000007f));
  return times_power_of_two(p, n);
}

// The same for what is rounded to bfloat16 (relative error 2e-3 and more): relative error 1e-4, and
// 2^0 is 1.
FMS_ACCEL_INLINE Floats rough_exp2_of(Floats x) {
  const Floats bounded = bound_exponent(x), n = round_to_integer(bounded), f = bounded - n;
  Floats p = broadcast(0.0550089300f);
  p = fused_multiply_add(p, f, broadcast(0.242210956f));
  p = fused_multiply_add(p, f, broadcast(0.693282933f));
  p = fused_multiply_add(p, f, broadcast(1));
  return times_power_of_two(p, n);
}
// A weight of attention, as exact as the step that multiplies it.
template <class Step>
FMS_ACCEL_INLINE Floats weight_of(Floats score) {
  return Step::kPair == 1 ? exp2_of(score) : rough_exp2_of(score);
}

// ln x of positive normal numbers, relative error 2e-7 above 1: 2 artanh((f - 1) / (f + 1)) by its
// series, of a factor f from 3/4 to 3/2.
FMS_ACCEL_INLINE Floats log_of(Floats x) {
  const Floats n = exponent_of(x * broadcast(4.0f / 3)), one = broadcast(1);
  const Floats f = times_power_of_two(x, broadcast(0) - n), s = (f - one) / (f + one), z = s * s;
  Floats p = broadcast(1.0f / 9);
  p = fused_multiply_add(p, z, broadcast(1.0f / 7));
  p = fused_multiply_add(p, z, broadcast(1.0f / 5));
  p = fused_multiply_add(p, z, broadcast(1.0f / 3));
  p = fused_multiply_add(p, z, one);
  return fused_multiply_add(n, broadcast(0.693147181f), (s + s) * p);
}

// tanh x. Below 5/8 by a polynomial, above by the exponential: small arguments keep their relative
// precision, which the soft cap multiplies.
FMS_ACCEL_INLINE Floats tanh_of(Floats x) {
  const Floats size = absolute(x), z = x * x, one = broadcast(1);
  Floats p = broadcast(-5.70498716e-3f);
  p = fused_multiply_add(p, z, broadcast(2.06390875e-2f));
  p = fused_multiply_add(p, z, broadcast(-5.37397152e-2f));
  p = fused_multiply_add(p, z, broadcast(1.33314422e-1f));
  p = fused_multiply_add(p, z, broadcast(-3.33332819e-1f));
  const Floats near = fused_multiply_add(x * z, p, x);
  const Floats power = exp2_of(minimum(broadcast(60), size * broadcast(2.88539008f)));
  const Floats far = one - broadcast(2) / (power + one);
  return where_less(size, broadcast(0.625f), near, where_less(x, broadcast(0), -far, far));
}

// Lane i of the result: op over the lanes of x[i]. No chain of dependent shuffles for each row.
template <class Op>
FMS_ACCEL_INLINE Floats fold_rows(Floats x[kLanes], const Op& op) {
  Words bits[kLanes];
  for (int i = 0; i < kLanes; ++i) bits[i] = (Words)x[i];
  transpose(bits);
  for (int i = 0; i < kLanes; ++i) x[i] = (Floats)bits[i];
  for (int step = kLanes / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) x[i] = op(x[i], x[i + step]);
  return x[0];
}

}  // namespace fms_accel::FMS_ACCEL_ISA
