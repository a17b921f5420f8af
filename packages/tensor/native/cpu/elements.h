// Converting between stored dtypes and the dtypes that kernels compute in (float, int64_t). Kernels
// work on short buffers that stay in the first-level cache: load a run, compute, store a run. So
// every dtype and stride works for every op without a version of each op for each dtype.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __F16C__
#include <immintrin.h>
#endif

#include "cpu/kernels.h"

#ifndef FMS_ACCEL_ISA
#error "kernel sources are compiled once for each instruction set, with -DFMS_ACCEL_ISA=<name>"
#endif

namespace fms_accel::FMS_ACCEL_ISA {

// Elements of a run: three float buffers of it fit into the first-level cache with room to spare.
constexpr int64_t kRun = 1024;

inline float float_of_bf16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  memcpy(&value, &wide, 4);
  return value;
}

// Round to nearest even; NaN stays NaN.
inline uint16_t bf16_of_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 | (bits >> 16) : rounded);
}

#if defined(__F16C__) || defined(__aarch64__)
inline float float_of_f16(uint16_t bits) {
  _Float16 half;
  memcpy(&half, &bits, 2);
  return static_cast<float>(half);
}
inline uint16_t f16_of_float(float value) {
  const _Float16 half = static_cast<_Float16>(value);
  uint16_t bits;
  memcpy(&bits, &half, 2);
  return bits;
}
#else
inline float float_of_f16(uint16_t bits) {
  // Exponent and mantissa shifted into place, then scaled by 2^112: also right for subnormals;
  // infinities and NaNs (exponent 31) are patched.
  uint32_t wide = static_cast<uint32_t>(bits & 0x7fff) << 13;
  float value;
  memcpy(&value, &wide, 4);
  value *= 0x1p112f;
  memcpy(&wide, &value, 4);
  if ((bits & 0x7c00) == 0x7c00) wide |= 0x7f800000;
  wide |= static_cast<uint32_t>(bits & 0x8000) << 16;
  memcpy(&value, &wide, 4);
  return value;
}
inline uint16_t f16_of_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  bits &= 0x7fffffff;
  if (bits > 0x7f800000) return sign | 0x7e00;
  if (bits >= 0x47800000) return sign | 0x7c00;
  if (bits < 0x38800000) {  // subnormal: let the addition of 2^-1 round to a multiple of 2^-24
    float magnitude;
    memcpy(&magnitude, &bits, 4);
    magnitude += 0.5f;
    memcpy(&bits, &magnitude, 4);
    return static_cast<uint16_t>(sign | (bits - 0x3f000000));
  }
  return static_cast<uint16_t>(sign | ((bits + 0xfff + ((bits >> 13) & 1) - 0x38000000) >> 13));
}
#endif

// Contiguous elements from one form to the other. float16 has an overload of its own, because g++
// does not vectorise its conversions.
template <class Element, class Compute>
inline void load_elements(Element, const typename Element::Storage* from, Compute* to,
                          int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = Element::template load<Compute>(from[i]);
}
template <class Element, class Compute>
inline void store_elements(Element, const Compute* from, typename Element::Storage* to,
                           int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = Element::store(from[i]);
}

template <class Stored>
struct Plain {
  using Storage = Stored;
  template <class Compute>
  static Compute load(Stored value) {
    return static_cast<Compute>(value);
  }
  template <class Compute>
  static Stored store(Compute value) {
    return static_cast<Stored>(value);
  }
};
struct BFloat16 {
  using Storage = uint16_t;
  template <class Compute>
  static Compute load(uint16_t bits) {
    return static_cast<Compute>(float_of_bf16(bits));
  }
  template <class Compute>
  static uint16_t store(Compute value) {
    return bf16_of_float(static_cast<float>(value));
  }
};
struct Float16 {
  using Storage = uint16_t;
  template <class Compute>
  static Compute load(uint16_t bits) {
    return static_cast<Compute>(float_of_f16(bits));
  }
  template <class Compute>
  static uint16_t store(Compute value) {
    return f16_of_float(static_cast<float>(value));
  }
};
#ifdef __F16C__
inline void load_elements(Float16, const uint16_t* from, float* to, int64_t count) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(to + i,
                     _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
  }
  for (; i < count; ++i) to[i] = float_of_f16(from[i]);
}
inline void store_elements(Float16, const float* from, uint16_t* to, int64_t count) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(to + i),
        _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  for (; i < count; ++i) to[i] = f16_of_float(from[i]);
}
#endif
struct Bool {
  using Storage = uint8_t;
  template <class Compute>
  static Compute load(uint8_t value) {
    return static_cast<Compute>(value != 0);
  }
  template <class Compute>
  static uint8_t store(Compute value) {
    return value != 0;
  }
};
// A float outside of the range of an integer type, or NaN, converts to the nearest bound, or 0
// (plain C++ leaves it undefined).
template <class Stored>
struct Integer {
  using Storage = Stored;
  template <class Compute>
  static Compute load(Stored value) {
    return static_cast<Compute>(value);
  }
  static Stored store(int64_t value) { return static_cast<Stored>(value); }
  static Stored store(float value) {
    constexpr float kLow = sizeof(Stored) == 8 ? -0x1p63f : sizeof(Stored) == 4 ? -0x1p31f : 0.0f;
    constexpr float kHigh = sizeof(Stored) == 8   ? 0x1.fffffep62f
                            : sizeof(Stored) == 4 ? 0x1.fffffep30f
                                                  : 255.0f;
    if (!(value == value)) return 0;
    return static_cast<Stored>(value < kLow ? kLow : value > kHigh ? kHigh : value);
  }
};

// Calls body with the element type of a floating `dtype` as its argument.
template <class Body>
inline void with_floating_element(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kBFloat16:
      return body(BFloat16());
    case DType::kFloat16:
      return body(Float16());
    default:
      return body(Plain<float>());
  }
}

// Calls body with the element type of `dtype` as its argument.
template <class Body>
inline void with_element(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kFloat32:
      return body(Plain<float>());
    case DType::kBFloat16:
      return body(BFloat16());
    case DType::kFloat16:
      return body(Float16());
    case DType::kInt32:
      return body(Integer<int32_t>());
    case DType::kInt64:
      return body(Integer<int64_t>());
    case DType::kUint8:
      return body(Integer<uint8_t>());
    case DType::kBool:
      return body(Bool());
  }
}

// A position of a Loop, moved along run by run.
struct Position {
  int64_t index[kMaxLoopDims];
  Position(const Loop& loop, int64_t linear) {
    for (int d = loop.ndim - 1; d >= 0; --d) {
      index[d] = linear % loop.shape[d];
      linear /= loop.shape[d];
    }
  }
  int64_t offset(const Loop& loop, const Operand& operand) const {
    int64_t offset = 0;
    for (int d = 0; d < loop.ndim; ++d) offset += index[d] * operand.strides[d];
    return offset;
  }
  void advance(const Loop& loop, int64_t count) {
    int d = loop.ndim - 1;
    index[d] += count;
    for (; d > 0 && index[d] >= loop.shape[d]; --d) {
      index[d] = 0;
      ++index[d - 1];
    }
  }
};

// Splits [begin, end) of the loop into pieces along the innermost dimension: body(place in the run,
// offset of the piece's first element in the operand, count).
template <class Body>
inline void for_each_piece(const Loop& loop, const Operand& operand, int64_t begin, int64_t end,
                           const Body& body) {
  const int last = loop.ndim - 1;
  if (last == 0) return body(0, begin * operand.strides[0], end - begin);
  Position position(loop, begin);
  int64_t offset = position.offset(loop, operand);
  const int64_t row = loop.shape[last], left_in_row = row - position.index[last];
  int64_t count = left_in_row < end - begin ? left_in_row : end - begin;
  // Of the first element of the row.
  int64_t row_offset = offset - position.index[last] * operand.strides[last];
  for (int64_t done = 0;;) {
    body(done, offset, count);
    done += count;
    if (done == end - begin) return;
    int d = last - 1;
    row_offset += operand.strides[d];
    while (++position.index[d] == loop.shape[d]) {
      position.index[d] = 0;
      row_offset += operand.strides[d - 1] - loop.shape[d] * operand.strides[d];
      --d;
    }
    offset = row_offset;
    count = row < end - begin - done ? row : end - begin - done;
  }
}

// Elements [begin, end) of the loop, converted to Compute. Returns `buffer`, or the operand itself
// where it already has that form.
template <class Compute>
inline const Compute* load_run(const Loop& loop, const Operand& operand, int64_t begin, int64_t end,
                               Compute* buffer) {
  const Compute* result = buffer;
  const int last = loop.ndim - 1;
  with_element(operand.dtype, [&](auto element) {
    using Element = decltype(element);
    using Stored = typename Element::Storage;
    const Stored* data = static_cast<const Stored*>(operand.data);
    const int64_t stride = operand.strides[last];
    for_each_piece(loop, operand, begin, end, [&](int64_t done, int64_t offset, int64_t count) {
      const Stored* from = data + offset;
      if constexpr (__is_same(Stored, Compute) && !__is_same(Element, Bool)) {
        if (stride == 1 && count == end - begin) {
          result = from;
          return;
        }
      }
      Compute* to = buffer + done;
      if (stride == 1) {
        load_elements(element, from, to, count);
      } else if (stride == 0) {
        const Compute value = Element::template load<Compute>(from[0]);
        for (int64_t i = 0; i < count; ++i) to[i] = value;
      } else {
        for (int64_t i = 0; i < count; ++i)
          to[i] = Element::template load<Compute>(from[i * stride]);
      }
    });
  });
  return result;
}

template <class Compute>
inline void store_run(const Loop& loop, const Operand& operand, int64_t begin, int64_t end,
                      const Compute* buffer) {
  const int last = loop.ndim - 1;
  with_element(operand.dtype, [&](auto element) {
    using Element = decltype(element);
    using Stored = typename Element::Storage;
    Stored* data = static_cast<Stored*>(operand.data);
    const int64_t stride = operand.strides[last];
    for_each_piece(loop, operand, begin, end, [&](int64_t done, int64_t offset, int64_t count) {
      Stored* to = data + offset;
      const Compute* from = buffer + done;
      if (stride == 1) {
        store_elements(element, from, to, count);
      } else {
        for (int64_t i = 0; i < count; ++i) to[i * stride] = Element::store(from[i]);
      }
    });
  });
}

}  // namespace fms_accel::FMS_ACCEL_ISA
