// Elementary functions written without branches or calls, so that the compiler vectorises the loops
// they stand in. Those that training spends time in (exp, tanh, erf) are computed in float32,
// within 2 units in the last place; log, sin, cos and power in float64, so that they are rounded
// once. No fused multiply-add: every instruction set gives the same bits. The coefficients are
// minimax fits (Remez exchange) for the ranges that are given beside them.
#pragma once
#include <cstdint>
#include <cstring>

namespace fms_accel::FMS_ACCEL_ISA {

inline float as_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
inline uint32_t as_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}
inline double as_double(uint64_t bits) {
  double value;
  memcpy(&value, &bits, 8);
  return value;
}
inline uint64_t as_bits(double value) {
  uint64_t bits;
  memcpy(&bits, &value, 8);
  return bits;
}

constexpr float kFloatInfinity = __builtin_inff();
constexpr float kNotANumber = __builtin_nanf("");
// Added to a number and taken off again, these round it to an integer; until then the low bits of
// the sum hold that integer.
constexpr float kRoundFloat = 0x1.8p23f;
constexpr double kRoundDouble = 0x1.8p52;

// e^x. x = n ln 2 + r with |r| <= ln 2 / 2; e^r by a polynomial; 2^n in two factors, so that
// results near the ends of the range neither overflow nor flush early. NaN stays NaN.
inline float exp_of(float x) {
  const float bounded = x < -104.0f ? -104.0f : x > 89.0f ? 89.0f : x;
  const float n = (bounded * 1.44269504f + kRoundFloat) - kRoundFloat;
  const float r = (bounded - n * 0.693145752f) - n * 1.42860677e-6f;
  float p = 1.97902438e-4f;
  p = p * r + 1.39447585e-3f;
  p = p * r + 8.33349767e-3f;
  p = p * r + 4.16662936e-2f;
  p = p * r + 1.66666659e-1f;
  p = p * r + 5.00000007e-1f;
  const float value = (p * r * r + r) + 1.0f;
  const int32_t whole = static_cast<int32_t>(n), half = whole >> 1;
  const float result = value * as_float(static_cast<uint32_t>(half + 127) << 23) *
                       as_float(static_cast<uint32_t>(whole - half + 127) << 23);
  return x == x ? result : x;
}

// e^x for x <= 0, as exp_of but 0 where the result would be subnormal: a weight relative to the
// largest one. NaN stays NaN.
inline float exp_of_nonpositive(float x) {
  constexpr float kSmallest = -87.0f;
  const float bounded = x < kSmallest ? kSmallest : x;
  const float n = (bounded * 1.44269504f + kRoundFloat) - kRoundFloat;
  const float r = (bounded - n * 0.693145752f) - n * 1.42860677e-6f;
  float p = 1.97902438e-4f;
  p = p * r + 1.39447585e-3f;
  p = p * r + 8.33349767e-3f;
  p = p * r + 4.16662936e-2f;
  p = p * r + 1.66666659e-1f;
  p = p * r + 5.00000007e-1f;
  const float value = (p * r * r + r) + 1.0f;
  const int32_t whole = static_cast<int32_t>(n);
  const float result = value * as_float(static_cast<uint32_t>(whole + 127) << 23);
  return x < kSmallest ? 0.0f : result;
}

// 0 where e^-x overflows (x < -88.7).
inline float sigmoid_of(float x) { return 1.0f / (1.0f + exp_of(-x)); }

inline float with_sign_of(float magnitude, float sign) {
  return as_float((as_bits(magnitude) & 0x7fffffff) | (as_bits(sign) & 0x80000000));
}

// Below 5/8 by a polynomial, above by the exponential.
inline float tanh_of(float x) {
  const float size = __builtin_fabsf(x);
  const float z = size < 0.625f ? x * x : 0.0f;
  float p = -5.70498716e-3f;
  p = p * z + 2.06390875e-2f;
  p = p * z + -5.37397152e-2f;
  p = p * z + 1.33314422e-1f;
  p = p * z + -3.33332819e-1f;
  const float near = size + size * (z * p);
  const float far = 1.0f - 2.0f / (exp_of(2.0f * size) + 1.0f);
  return with_sign_of(size < 0.625f ? near : far, x);
}

// The error function: below 1 by a polynomial, above as 1 - e^(ln erfc |x|), where the exponent is
// a polynomial on [1, 4]; 1 from 4 on.
inline float erf_of(float x) {
  const float size = __builtin_fabsf(x);
  const float z = size < 1.0f ? x * x : 0.0f;
  float p = 7.85386172e-5f;
  p = p * z + -8.01019375e-4f;
  p = p * z + 5.18832770e-3f;
  p = p * z + -2.68538119e-2f;
  p = p * z + 1.12835851e-1f;
  p = p * z + -3.76126258e-1f;
  p = p * z + 1.28379166e-1f;
  const float near = size + size * p;
  const float c = size > 4.0f ? 4.0f : size;
  float q = 1.85573996e-4f;
  q = q * c + -2.93960723e-3f;
  q = q * c + 2.18053182e-2f;
  q = q * c + -1.03037369e-1f;
  q = q * c + -6.38225677e-1f;
  q = q * c + -1.12704004e0f;
  q = q * c + -3.53719321e-4f;
  return with_sign_of(size < 1.0f ? near : 1.0f - exp_of(q), x);
}

// ln x for 0 < x < infinity in float64: x = 2^e m with m around 1; ln m = 2 artanh s with s = (m -
// 1) / (m + 1), |s| <= 0.172, and artanh s = s + s^3 series(s^2).
template <class Series>
inline double positive_log(float x, const Series& series) {
  const bool subnormal = x < 0x1p-126f;
  const auto bits = static_cast<int32_t>(as_bits(subnormal ? x * 0x1p32f : x));
  const int32_t e =
      (bits - 0x3f3504f3) >> 23;  // the bits of sqrt(1/2): m lies in [sqrt(1/2), sqrt(2))
  const double m =
      static_cast<double>(as_float(static_cast<uint32_t>(bits) - (static_cast<uint32_t>(e) << 23)));
  const double s = (m - 1.0) / (m + 1.0), z = s * s;
  return 2.0 * (s + s * z * series(z)) +
         static_cast<double>(subnormal ? e - 32 : e) * 0.693147180559945309;
}

// The natural logarithm; -infinity of 0, NaN below.
inline float log_of(float x) {
  const auto series = [](double z) {
    double p = 0.117907360269761981;
    p = p * z + 0.14268673488000113;
    p = p * z + 0.200001672671880767;
    return p * z + 0.333333328243233028;
  };
  const auto finite = static_cast<float>(positive_log(x, series));
  return x > 0.0f ? (x < kFloatInfinity ? finite : x) : x == 0.0f ? -kFloatInfinity : kNotANumber;
}

// sin and cos of |x| <= kLargestAngle: x = k pi / 2 + r with |r| <= pi / 4, where pi / 2 is taken
// in two parts, the first so short that k times it is exact. Larger angles lose accuracy: callers
// leave them to the C library.
constexpr float kLargestAngle = 1e6f;
inline float sine_of_quarter(float x, uint64_t quarters) {
  const double wide = static_cast<double>(x), shifted = wide * 0.636619772367581343 + kRoundDouble,
               k = shifted - kRoundDouble;
  const double r = (wide - k * 0x1.921fb544p0) - k * 0x1.0b4611a626331p-34, z = r * r;
  const double sine = r + r * z *
                              (-0.166666666416269912 +
                               z * (0.00833332938594424166 +
                                    z * (-0.000198393348539524199 + z * 2.71831166625991894e-6)));
  const double cosine =
      1.0 - 0.5 * z +
      z * z * (0.041666646866457645 + z * (-0.00138873675164427094 + z * 0.0000244384516671394286));
  const uint64_t quadrant = as_bits(shifted) + quarters;
  const double value = (quadrant & 1) != 0 ? cosine : sine;
  return static_cast<float>(as_double(as_bits(value) ^ ((quadrant & 2) << 62)));
}
inline float sin_of(float x) { return sine_of_quarter(x, 0); }
inline float cos_of(float x) { return sine_of_quarter(x, 1); }

// |x|^a for a finite a other than 0, as 2^(a log2 |x|).
inline float positive_power(float x, double a) {
  const float size = __builtin_fabsf(x);
  const auto series = [](double z) {
    double p = 0.0739773728215547523;
    p = p * z + 0.0765704945023623828;
    p = p * z + 0.0909178120117944857;
    p = p * z + 0.111110993054208297;
    p = p * z + 0.142857143710074505;
    p = p * z + 0.199999999997081874;
    return p * z + 0.333333333333336708;
  };
  const double log2 = positive_log(size, series) * 1.44269504088896341;
  const double edge = a > 0.0 ? 400.0 : -400.0;  // 2^400 is infinite as float32, 2^-400 is 0
  const double exact = size == 0.0f ? -edge : size == kFloatInfinity ? edge : a * log2;
  const double t = exact < -400.0 ? -400.0 : exact > 400.0 ? 400.0 : exact;
  const double shifted = t + kRoundDouble, f = t - (shifted - kRoundDouble);
  double p = 1.01503363762805878e-7;
  p = p * f + 1.32594056010099871e-6;
  p = p * f + 0.0000152529848407740773;
  p = p * f + 0.000154034349481361849;
  p = p * f + 0.00133335576175994397;
  p = p * f + 0.0096181291920670943;
  p = p * f + 0.0555041086686856597;
  p = p * f + 0.24022650695649654;
  p = p * f + 0.69314718055987097;
  p = p * f + 1.0;
  const double power = p * as_double((as_bits(shifted) + 1023) << 52);
  return x == x ? static_cast<float>(power) : x;
}

}  // namespace fms_accel::FMS_ACCEL_ISA
