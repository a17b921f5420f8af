// Elementwise kernels: load a run of each operand, compute, store (cpu/elements.h).
#include <cmath>

#include "cpu/elements.h"
#include "cpu/kernel_sources.h"
#include "cpu/runs.h"
#include "cpu/vector_math.h"
#include "engine/thread_pool.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

template <class Compute>
void map(const Loop& loop, const Operand& out, const Operand& x, auto function) {
  for_each_run(loop.numel, [&](int64_t begin, int64_t end) {
    alignas(64) Compute buffer[kRun], result[kRun];
    const Compute* values = load_run<Compute>(loop, x, begin, end, buffer);
    for (int64_t i = 0; i < end - begin; ++i) result[i] = function(values[i]);
    store_run<Compute>(loop, out, begin, end, result);
  });
}

template <class Compute>
void zip(const Loop& loop, const Operand& out, const Operand& x, const Operand& y, auto function) {
  for_each_run(loop.numel, [&](int64_t begin, int64_t end) {
    alignas(64) Compute buffer_x[kRun], buffer_y[kRun], result[kRun];
    const Compute* a = load_run<Compute>(loop, x, begin, end, buffer_x);
    const Compute* b = load_run<Compute>(loop, y, begin, end, buffer_y);
    for (int64_t i = 0; i < end - begin; ++i) result[i] = function(a[i], b[i]);
    store_run<Compute>(loop, out, begin, end, result);
  });
}

// Elements of one dtype from place to place, as they are.
template <class Stored>
void copy(const Loop& loop, const Operand& out, const Operand& x) {
  const int64_t out_stride = out.strides[loop.ndim - 1], x_stride = x.strides[loop.ndim - 1];
  for_each_run(loop.numel, [&](int64_t begin, int64_t end) {
    int64_t offsets[kRun], pieces = 0;
    for_each_piece(loop, x, begin, end,
                   [&](int64_t, int64_t offset, int64_t) { offsets[pieces++] = offset; });
    pieces = 0;
    for_each_piece(loop, out, begin, end, [&](int64_t, int64_t offset, int64_t count) {
      const Stored* from = static_cast<const Stored*>(x.data) + offsets[pieces++];
      Stored* to = static_cast<Stored*>(out.data) + offset;
      if (out_stride == 1 && x_stride == 1) {
        memmove(to, from, static_cast<size_t>(count) * sizeof(Stored));
      } else if (out_stride == 1 && x_stride == 0) {
        const Stored value = *from;
        for (int64_t i = 0; i < count; ++i) to[i] = value;
      } else {
        for (int64_t i = 0; i < count; ++i) to[i * out_stride] = from[i * x_stride];
      }
    });
  });
}

// A function of an angle: `exact` (the C library's) for the few that `reduced` does not take.
void map_angles(const Loop& loop, const Operand& out, const Operand& x, auto reduced, auto exact) {
  for_each_run(loop.numel, [&](int64_t begin, int64_t end) {
    alignas(64) float buffer[kRun], result[kRun];
    const float* values = load_run<float>(loop, x, begin, end, buffer);
    int32_t large = 0;
    for (int64_t i = 0; i < end - begin; ++i) {
      result[i] = reduced(values[i]);
      large += __builtin_fabsf(values[i]) > kLargestAngle ? 1 : 0;
    }
    if (large > 0) {
      for (int64_t i = 0; i < end - begin; ++i) {
        if (__builtin_fabsf(values[i]) > kLargestAngle) result[i] = exact(values[i]);
      }
    }
    store_run<float>(loop, out, begin, end, result);
  });
}

// x^a, with the C library's results for zeros, infinities and negative x.
void power(const Loop& loop, const Operand& out, const Operand& x, float a) {
  if (a == 0.0f) return map<float>(loop, out, x, [](float) { return 1.0f; });
  if (!(__builtin_fabsf(a) < kFloatInfinity))
    return map<float>(loop, out, x, [=](float v) { return __builtin_powf(v, a); });
  const bool whole = a == __builtin_truncf(a);
  const bool odd = whole && __builtin_fabsf(a) < 0x1p24f && (static_cast<int32_t>(a) & 1) != 0;
  const auto exponent = static_cast<double>(a);
  if (odd)
    return map<float>(loop, out, x,
                      [=](float v) { return with_sign_of(positive_power(v, exponent), v); });
  if (whole) return map<float>(loop, out, x, [=](float v) { return positive_power(v, exponent); });
  return map<float>(loop, out, x, [=](float v) {
    const float result = positive_power(v, exponent);
    return v < 0.0f && v > -kFloatInfinity ? kNotANumber : result;
  });
}

constexpr float kSqrtHalf = 0.70710678f;
constexpr float kTwoOverSqrtPi = 1.12837917f;
// gelu by tanh: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel, 2016)
constexpr float kGeluScale = 0.79788456f, kGeluCubic = 0.044715f;

}  // namespace

void unary(UnaryOp op, float a, float b, const Loop& loop, const Operand& out, const Operand& x) {
  if (op == UnaryOp::kCopy && x.dtype == out.dtype) {
    switch (item_size(x.dtype)) {
      case 1:
        return copy<uint8_t>(loop, out, x);
      case 2:
        return copy<uint16_t>(loop, out, x);
      case 4:
        return copy<uint32_t>(loop, out, x);
      default:
        return copy<uint64_t>(loop, out, x);
    }
  }
  if (!is_floating(x.dtype) && !is_floating(out.dtype)) {
    using Int = int64_t;
    switch (op) {
      case UnaryOp::kNegate:
        return map<Int>(loop, out, x,
                        [](Int v) { return static_cast<Int>(-static_cast<uint64_t>(v)); });
      case UnaryOp::kAbsolute:
        return map<Int>(loop, out, x, [](Int v) {
          return v < 0 ? static_cast<Int>(-static_cast<uint64_t>(v)) : v;
        });
      case UnaryOp::kSquare:
        return map<Int>(loop, out, x, [](Int v) {
          return static_cast<Int>(static_cast<uint64_t>(v) * static_cast<uint64_t>(v));
        });
      case UnaryOp::kLogicalNot:
        return map<Int>(loop, out, x, [](Int v) { return static_cast<Int>(v == 0); });
      case UnaryOp::kAffine: {
        const auto scale = static_cast<uint64_t>(static_cast<Int>(a)),
                   shift = static_cast<uint64_t>(static_cast<Int>(b));
        return map<Int>(loop, out, x, [=](Int v) {
          return static_cast<Int>(static_cast<uint64_t>(v) * scale + shift);
        });
      }
      case UnaryOp::kClamp:
        return map<Int>(loop, out, x, [=](Int v) {
          const float f = static_cast<float>(v);
          return f < a ? static_cast<Int>(a) : f > b ? static_cast<Int>(b) : v;
        });
      default:
        return map<Int>(loop, out, x, [](Int v) { return v; });
    }
  }
  switch (op) {
    case UnaryOp::kCopy:
      return map<float>(loop, out, x, [](float v) { return v; });
    case UnaryOp::kNegate:
      return map<float>(loop, out, x, [](float v) { return -v; });
    case UnaryOp::kAbsolute:
      return map<float>(loop, out, x, [](float v) { return __builtin_fabsf(v); });
    case UnaryOp::kExp:
      return map<float>(loop, out, x, [](float v) { return exp_of(v); });
    case UnaryOp::kLog:
      return map<float>(loop, out, x, [](float v) { return log_of(v); });
    case UnaryOp::kSqrt:
      return map<float>(loop, out, x, [](float v) { return __builtin_sqrtf(v); });
    case UnaryOp::kRsqrt:
      return map<float>(loop, out, x, [](float v) { return 1.0f / __builtin_sqrtf(v); });
    case UnaryOp::kSquare:
      return map<float>(loop, out, x, [](float v) { return v * v; });
    case UnaryOp::kReciprocal:
      return map<float>(loop, out, x, [](float v) { return 1.0f / v; });
    case UnaryOp::kSin:
      return map_angles(
          loop, out, x, [](float v) { return sin_of(v); },
          [](float v) { return __builtin_sinf(v); });
    case UnaryOp::kCos:
      return map_angles(
          loop, out, x, [](float v) { return cos_of(v); },
          [](float v) { return __builtin_cosf(v); });
    case UnaryOp::kSigmoid:
      return map<float>(loop, out, x, [](float v) { return sigmoid_of(v); });
    case UnaryOp::kTanh:
      return map<float>(loop, out, x, [](float v) { return tanh_of(v); });
    case UnaryOp::kSilu:
      return map<float>(loop, out, x, [](float v) { return v * sigmoid_of(v); });
    case UnaryOp::kRelu:
      return map<float>(loop, out, x, [](float v) { return v < 0.0f ? 0.0f : v; });
    case UnaryOp::kGelu:
      return map<float>(loop, out, x,
                        [](float v) { return 0.5f * v * (1.0f + erf_of(v * kSqrtHalf)); });
    case UnaryOp::kGeluTanh:
      return map<float>(loop, out, x, [](float v) {
        return 0.5f * v * (1.0f + tanh_of(kGeluScale * (v + kGeluCubic * v * v * v)));
      });
    case UnaryOp::kErf:
      return map<float>(loop, out, x, [](float v) { return erf_of(v); });
    case UnaryOp::kLogicalNot:
      return map<float>(loop, out, x, [](float v) { return v == 0.0f ? 1.0f : 0.0f; });
    case UnaryOp::kAffine:
      return map<float>(loop, out, x, [=](float v) { return a * v + b; });
    case UnaryOp::kPower:
      return power(loop, out, x, a);
    case UnaryOp::kClamp:
      return map<float>(loop, out, x, [=](float v) { return v < a ? a : v > b ? b : v; });
  }
}

void binary(BinaryOp op, const Loop& loop, const Operand& out, const Operand& x, const Operand& y) {
  if (!is_floating(x.dtype) && !is_floating(y.dtype) && !is_floating(out.dtype)) {
    using Int = int64_t;
    using Bits = uint64_t;  // wraps where int64 would be undefined
    switch (op) {
      case BinaryOp::kAdd:
        return zip<Int>(loop, out, x, y, [](Int a, Int b) {
          return static_cast<Int>(static_cast<Bits>(a) + static_cast<Bits>(b));
        });
      case BinaryOp::kSubtract:
        return zip<Int>(loop, out, x, y, [](Int a, Int b) {
          return static_cast<Int>(static_cast<Bits>(a) - static_cast<Bits>(b));
        });
      case BinaryOp::kMultiply:
        return zip<Int>(loop, out, x, y, [](Int a, Int b) {
          return static_cast<Int>(static_cast<Bits>(a) * static_cast<Bits>(b));
        });
      case BinaryOp::kMaximum:
        return zip<Int>(loop, out, x, y, [](Int a, Int b) { return a > b ? a : b; });
      case BinaryOp::kMinimum:
        return zip<Int>(loop, out, x, y, [](Int a, Int b) { return a < b ? a : b; });
      case BinaryOp::kEqual:
        return zip<Int>(loop, out, x, y, [](Int a, Int b) { return static_cast<Int>(a == b); });
      case BinaryOp::kNotEqual:
        return zip<Int>(loop, out, x, y, [](Int a, Int b) { return static_cast<Int>(a != b); });
      case BinaryOp::kLess:
        return zip<Int>(loop, out, x, y, [](Int a, Int b) { return static_cast<Int>(a < b); });
      case BinaryOp::kLessEqual:
        return zip<Int>(loop, out, x, y, [](Int a, Int b) { return static_cast<Int>(a <= b); });
      case BinaryOp::kGreater:
        return zip<Int>(loop, out, x, y, [](Int a, Int b) { return static_cast<Int>(a > b); });
      case BinaryOp::kGreaterEqual:
        return zip<Int>(loop, out, x, y, [](Int a, Int b) { return static_cast<Int>(a >= b); });
      case BinaryOp::kLogicalAnd:
        return zip<Int>(loop, out, x, y, [](Int a, Int b) { return static_cast<Int>(a && b); });
      case BinaryOp::kLogicalOr:
        return zip<Int>(loop, out, x, y, [](Int a, Int b) { return static_cast<Int>(a || b); });
      default:
        break;
    }
  }
  switch (op) {
    case BinaryOp::kAdd:
      return zip<float>(loop, out, x, y, [](float a, float b) { return a + b; });
    case BinaryOp::kSubtract:
      return zip<float>(loop, out, x, y, [](float a, float b) { return a - b; });
    case BinaryOp::kMultiply:
      return zip<float>(loop, out, x, y, [](float a, float b) { return a * b; });
    case BinaryOp::kDivide:
      return zip<float>(loop, out, x, y, [](float a, float b) { return a / b; });
    case BinaryOp::kMaximum:  // NaN in either operand wins
      return zip<float>(loop, out, x, y,
                        [](float a, float b) { return a > b || !(a == a) ? a : b; });
    case BinaryOp::kMinimum:
      return zip<float>(loop, out, x, y,
                        [](float a, float b) { return a < b || !(a == a) ? a : b; });
    case BinaryOp::kEqual:
      return zip<float>(loop, out, x, y, [](float a, float b) { return a == b ? 1.0f : 0.0f; });
    case BinaryOp::kNotEqual:
      return zip<float>(loop, out, x, y, [](float a, float b) { return a != b ? 1.0f : 0.0f; });
    case BinaryOp::kLess:
      return zip<float>(loop, out, x, y, [](float a, float b) { return a < b ? 1.0f : 0.0f; });
    case BinaryOp::kLessEqual:
      return zip<float>(loop, out, x, y, [](float a, float b) { return a <= b ? 1.0f : 0.0f; });
    case BinaryOp::kGreater:
      return zip<float>(loop, out, x, y, [](float a, float b) { return a > b ? 1.0f : 0.0f; });
    case BinaryOp::kGreaterEqual:
      return zip<float>(loop, out, x, y, [](float a, float b) { return a >= b ? 1.0f : 0.0f; });
    case BinaryOp::kLogicalAnd:
      return zip<float>(loop, out, x, y,
                        [](float a, float b) { return a != 0.0f && b != 0.0f ? 1.0f : 0.0f; });
    case BinaryOp::kLogicalOr:
      return zip<float>(loop, out, x, y,
                        [](float a, float b) { return a != 0.0f || b != 0.0f ? 1.0f : 0.0f; });
    case BinaryOp::kSigmoidGradient:
      return zip<float>(loop, out, x, y, [](float s, float g) { return g * s * (1.0f - s); });
    case BinaryOp::kTanhGradient:
      return zip<float>(loop, out, x, y, [](float t, float g) { return g * (1.0f - t * t); });
    case BinaryOp::kSiluGradient:
      return zip<float>(loop, out, x, y, [](float v, float g) {
        const float s = sigmoid_of(v);
        return g * s * (1.0f + v * (1.0f - s));
      });
    case BinaryOp::kReluGradient:
      return zip<float>(loop, out, x, y, [](float v, float g) { return v > 0.0f ? g : 0.0f; });
    case BinaryOp::kGeluGradient:
      return zip<float>(loop, out, x, y, [](float v, float g) {
        const float density = 0.5f * kSqrtHalf * kTwoOverSqrtPi * exp_of(-0.5f * v * v);
        return g * (0.5f * (1.0f + erf_of(v * kSqrtHalf)) + v * density);
      });
    case BinaryOp::kGeluTanhGradient:
      return zip<float>(loop, out, x, y, [](float v, float g) {
        const float t = tanh_of(kGeluScale * (v + kGeluCubic * v * v * v));
        const float slope = kGeluScale * (1.0f + 3.0f * kGeluCubic * v * v);
        return g * (0.5f * (1.0f + t) + 0.5f * v * (1.0f - t * t) * slope);
      });
  }
}

void where(const Loop& loop, const Operand& out, const Operand& condition, const Operand& x,
           const Operand& y) {
  const auto select = [&](auto zero) {
    using Compute = decltype(zero);
    for_each_run(loop.numel, [&](int64_t begin, int64_t end) {
      alignas(64) Compute buffer_c[kRun], buffer_x[kRun], buffer_y[kRun], result[kRun];
      const Compute* c = load_run<Compute>(loop, condition, begin, end, buffer_c);
      const Compute* a = load_run<Compute>(loop, x, begin, end, buffer_x);
      const Compute* b = load_run<Compute>(loop, y, begin, end, buffer_y);
      for (int64_t i = 0; i < end - begin; ++i) result[i] = c[i] != zero ? a[i] : b[i];
      store_run<Compute>(loop, out, begin, end, result);
    });
  };
  if (is_floating(out.dtype)) {
    select(0.0f);
  } else {
    select(int64_t{0});
  }
}

}  // namespace fms_accel::FMS_ACCEL_ISA
