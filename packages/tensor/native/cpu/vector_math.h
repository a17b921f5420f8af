// Elementary functions written without branches or calls, so that the compiler vectorises the loops they stand in.
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

// e^x, about 1 ulp. x = n ln 2 + r with |r| <= ln 2 / 2; e^r by a polynomial; 2^n in two factors, so that results near the
// ends of the range neither overflow nor flush early. NaN stays NaN.
inline float exp_of(float x) {
  const float bounded = x < -104.0f ? -104.0f : x > 89.0f ? 89.0f : x;
  const float n = __builtin_rintf(bounded * 1.44269504f);
  const float r = (bounded - n * 0.693145752f) - n * 1.42860677e-6f;
  float p = 1.98756912e-4f;
  p = p * r + 1.39819994e-3f;
  p = p * r + 8.33345205e-3f;
  p = p * r + 4.16657962e-2f;
  p = p * r + 1.66666657e-1f;
  p = p * r + 5.00000000e-1f;
  const float value = (p * r * r + r) + 1.0f;
  const int32_t whole = static_cast<int32_t>(n), half = whole >> 1;
  const float result = value * as_float(static_cast<uint32_t>(half + 127) << 23) *
                       as_float(static_cast<uint32_t>(whole - half + 127) << 23);
  return x == x ? result : x;
}

inline float log_of(float x) { return __builtin_logf(x); }
inline float sin_of(float x) { return __builtin_sinf(x); }
inline float cos_of(float x) { return __builtin_cosf(x); }

inline float sigmoid_of(float x) { return 1.0f / (1.0f + exp_of(-x)); }

}  // namespace fms_accel::FMS_ACCEL_ISA
