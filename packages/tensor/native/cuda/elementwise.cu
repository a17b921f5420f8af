// Elementwise kernels: each thread loads, computes and stores four elements; consecutive ones by
// vector accesses where operands are dense, by their strides otherwise.
#include <cmath>

#include "cuda/activations.h"
#include "cuda/elements.h"
#include "cuda/kernel_sources.h"

namespace fms_accel::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 4;

template <class Function, int Inputs>
struct Map {
  Function function;
  Walk<Inputs + 1> walk;  // out, then the inputs
  void* out;
  DType out_dtype;
  const void* inputs[Inputs];
  DType dtypes[Inputs];
  int64_t numel;
};

template <class Compute, class Function, int Inputs>
__device__ __forceinline__ Compute apply(const Function& function,
                                         const Compute (&values)[Inputs]) {
  if constexpr (Inputs == 1) return function(values[0]);
  if constexpr (Inputs == 2) return function(values[0], values[1]);
  if constexpr (Inputs == 3) return function(values[0], values[1], values[2]);
}

// [out, out + numel) dense; an input is dense or one element for all (a stride of 0).
template <class Compute, class Function, int Inputs>
__global__ void __launch_bounds__(kThreads) map_dense(Map<Function, Inputs> m) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads * kPerThread;
  for (int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kPerThread;
       i < m.numel; i += step) {
    Compute values[Inputs][kPerThread], results[kPerThread];
    const bool is_whole = i + kPerThread <= m.numel;
#pragma unroll
    for (int k = 0; k < Inputs; ++k) {
      if (m.walk.strides[k + 1][0] == 0) {
        const Compute value = load<Compute>(m.inputs[k], m.dtypes[k], 0);
#pragma unroll
        for (int e = 0; e < kPerThread; ++e) values[k][e] = value;
      } else if (is_whole) {
        load4<Compute>(m.inputs[k], m.dtypes[k], i, values[k]);
      } else {
        for (int e = 0; e < kPerThread && i + e < m.numel; ++e)
          values[k][e] = load<Compute>(m.inputs[k], m.dtypes[k], i + e);
      }
    }
#pragma unroll
    for (int e = 0; e < kPerThread; ++e) {
      if (i + e >= m.numel) break;
      Compute own[Inputs];
#pragma unroll
      for (int k = 0; k < Inputs; ++k) own[k] = values[k][e];
      results[e] = apply<Compute, Function, Inputs>(m.function, own);
    }
    if (is_whole) {
      store4<Compute>(m.out, m.out_dtype, i, results);
    } else {
      for (int e = 0; e < kPerThread && i + e < m.numel; ++e)
        store<Compute>(m.out, m.out_dtype, i + e, results[e]);
    }
  }
}

template <class Compute, class Function, int Inputs>
__global__ void __launch_bounds__(kThreads) map_strided(Map<Function, Inputs> m) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < m.numel;
       i += step) {
    int64_t offsets[Inputs + 1];
    m.walk.offsets(i, offsets);
    Compute values[Inputs];
#pragma unroll
    for (int k = 0; k < Inputs; ++k)
      values[k] = load<Compute>(m.inputs[k], m.dtypes[k], offsets[k + 1]);
    store<Compute>(m.out, m.out_dtype, offsets[0],
                   apply<Compute, Function, Inputs>(m.function, values));
  }
}

template <class Compute, class Function, class... Inputs>
void map(const Loop& loop, const Operand& out, Function function, const Inputs&... inputs) {
  constexpr int kInputs = sizeof...(Inputs);
  Map<Function, kInputs> m{function,         walk_of(loop, out.strides, inputs.strides...),
                           out.data,         out.dtype,
                           {inputs.data...}, {inputs.dtype...},
                           loop.numel};
  const auto is_plain = [&](const Operand& x) {
    return is_dense(loop, x) || (loop.ndim == 1 && x.strides[0] == 0);
  };
  if (is_dense(loop, out) && (is_plain(inputs) && ...)) {
    launch(map_dense<Compute, Function, kInputs>, grid_for(loop.numel, kThreads * kPerThread),
           dim3(kThreads), 0, m);
  } else {
    launch(map_strided<Compute, Function, kInputs>, grid_for(loop.numel, kThreads), dim3(kThreads),
           0, m);
  }
}

// Elements as they are, whatever their bits mean.
template <class Stored>
__global__ void __launch_bounds__(kThreads)
    copy_elements(Walk<2> walk, Stored* out, const Stored* x, int64_t numel) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < numel;
       i += step) {
    int64_t offsets[2];
    walk.offsets(i, offsets);
    out[offsets[0]] = x[offsets[1]];
  }
}

template <class Stored>
void copy(const Loop& loop, const Operand& out, const Operand& x) {
  if (loop.ndim == 1 && out.strides[0] == 1 && x.strides[0] == 1)
    return copy_on_device(out.data, x.data, static_cast<size_t>(loop.numel) * sizeof(Stored));
  launch(copy_elements<Stored>, grid_for(loop.numel, kThreads), dim3(kThreads), 0,
         walk_of(loop, out.strides, x.strides), static_cast<Stored*>(out.data),
         static_cast<const Stored*>(x.data), loop.numel);
}

using Int = int64_t;
using Bits = uint64_t;  // wraps where int64 would be undefined

constexpr float kSqrtHalf = 0.70710678f;
constexpr float kTwoOverSqrtPi = 1.12837917f;
// gelu by tanh: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel, 2016)
constexpr float kGeluScale = 0.79788456f, kGeluCubic = 0.044715f;

__device__ __forceinline__ float gelu_tanh_of(float x) {
  return tanhf(kGeluScale * (x + kGeluCubic * x * x * x));
}

// A function object `name` of one operand, and of two.
#define FUNCTION1(name, Type, expression)                                           \
  struct name {                                                                     \
    float a, b;                                                                     \
    __device__ __forceinline__ Type operator()(Type x) const { return expression; } \
  };
#define FUNCTION2(name, Type, expression)                                                   \
  struct name {                                                                             \
    __device__ __forceinline__ Type operator()(Type x, Type y) const { return expression; } \
  };

FUNCTION1(Same, float, x)
FUNCTION1(Negate, float, -x)
FUNCTION1(Absolute, float, fabsf(x))
FUNCTION1(Exp, float, expf(x))
FUNCTION1(Log, float, logf(x))
FUNCTION1(Sqrt, float, sqrtf(x))
FUNCTION1(Rsqrt, float, 1.0f / sqrtf(x))
FUNCTION1(Square, float, x* x)
FUNCTION1(Reciprocal, float, 1.0f / x)
FUNCTION1(Sin, float, sinf(x))
FUNCTION1(Cos, float, cosf(x))
FUNCTION1(Sigmoid, float, sigmoid_of(x))
FUNCTION1(Tanh, float, tanhf(x))
FUNCTION1(Silu, float, silu_of(x))
FUNCTION1(Relu, float, x < 0.0f ? 0.0f : x)
FUNCTION1(Gelu, float, 0.5f * x * (1.0f + erff(x * kSqrtHalf)))
FUNCTION1(GeluTanh, float, 0.5f * x * (1.0f + gelu_tanh_of(x)))
FUNCTION1(Erf, float, erff(x))
FUNCTION1(LogicalNot, float, x == 0.0f ? 1.0f : 0.0f)
FUNCTION1(Affine, float, a* x + b)
FUNCTION1(Power, float, powf(x, a))
FUNCTION1(Clamp, float, x<a ? a : x> b ? b : x)
FUNCTION1(IntSame, Int, x)
FUNCTION1(IntNegate, Int, static_cast<Int>(-static_cast<Bits>(x)))
FUNCTION1(IntAbsolute, Int, x < 0 ? static_cast<Int>(-static_cast<Bits>(x)) : x)
FUNCTION1(IntSquare, Int, static_cast<Int>(static_cast<Bits>(x) * static_cast<Bits>(x)))
FUNCTION1(IntNot, Int, x == 0 ? 1 : 0)
FUNCTION1(IntAffine, Int,
          static_cast<Int>(static_cast<Bits>(x) * static_cast<Bits>(static_cast<Int>(a)) +
                           static_cast<Bits>(static_cast<Int>(b))))
FUNCTION1(IntClamp, Int,
          static_cast<float>(x) < a   ? static_cast<Int>(a)
          : static_cast<float>(x) > b ? static_cast<Int>(b)
                                      : x)

FUNCTION2(Add, float, x + y)
FUNCTION2(Subtract, float, x - y)
FUNCTION2(Multiply, float, x* y)
FUNCTION2(Divide, float, x / y)
FUNCTION2(Maximum, float, x > y || !(x == x) ? x : y)  // NaN in either operand wins
FUNCTION2(Minimum, float, x < y || !(x == x) ? x : y)
FUNCTION2(Equal, float, x == y ? 1.0f : 0.0f)
FUNCTION2(NotEqual, float, x != y ? 1.0f : 0.0f)
FUNCTION2(Less, float, x < y ? 1.0f : 0.0f)
FUNCTION2(LessEqual, float, x <= y ? 1.0f : 0.0f)
FUNCTION2(Greater, float, x > y ? 1.0f : 0.0f)
FUNCTION2(GreaterEqual, float, x >= y ? 1.0f : 0.0f)
FUNCTION2(And, float, x != 0.0f && y != 0.0f ? 1.0f : 0.0f)
FUNCTION2(Or, float, x != 0.0f || y != 0.0f ? 1.0f : 0.0f)
FUNCTION2(SigmoidGradient, float, y* x*(1.0f - x))
FUNCTION2(TanhGradient, float, y*(1.0f - x * x))
FUNCTION2(ReluGradient, float, x > 0.0f ? y : 0.0f)
FUNCTION2(IntAdd, Int, static_cast<Int>(static_cast<Bits>(x) + static_cast<Bits>(y)))
FUNCTION2(IntSubtract, Int, static_cast<Int>(static_cast<Bits>(x) - static_cast<Bits>(y)))
FUNCTION2(IntMultiply, Int, static_cast<Int>(static_cast<Bits>(x) * static_cast<Bits>(y)))
FUNCTION2(IntMaximum, Int, x > y ? x : y)
FUNCTION2(IntMinimum, Int, x < y ? x : y)
FUNCTION2(IntEqual, Int, x == y ? 1 : 0)
FUNCTION2(IntNotEqual, Int, x != y ? 1 : 0)
FUNCTION2(IntLess, Int, x < y ? 1 : 0)
FUNCTION2(IntLessEqual, Int, x <= y ? 1 : 0)
FUNCTION2(IntGreater, Int, x > y ? 1 : 0)
FUNCTION2(IntGreaterEqual, Int, x >= y ? 1 : 0)
FUNCTION2(IntAnd, Int, x != 0 && y != 0 ? 1 : 0)
FUNCTION2(IntOr, Int, x != 0 || y != 0 ? 1 : 0)
#undef FUNCTION1
#undef FUNCTION2

struct SiluGradient {
  __device__ __forceinline__ float operator()(float x, float g) const {
    return silu_gradient_of(x, g);
  }
};
struct GeluGradient {
  __device__ __forceinline__ float operator()(float x, float g) const {
    const float density = 0.5f * kSqrtHalf * kTwoOverSqrtPi * expf(-0.5f * x * x);
    return g * (0.5f * (1.0f + erff(x * kSqrtHalf)) + x * density);
  }
};
struct GeluTanhGradient {
  __device__ __forceinline__ float operator()(float x, float g) const {
    const float t = gelu_tanh_of(x);
    const float slope = kGeluScale * (1.0f + 3.0f * kGeluCubic * x * x);
    return g * (0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * slope);
  }
};
template <class T>
struct Select {
  __device__ __forceinline__ T operator()(T condition, T x, T y) const {
    return condition != static_cast<T>(0) ? x : y;
  }
};

}  // namespace

#define CASE1(op, name) \
  case UnaryOp::op:     \
    return map<float>(loop, out, name{a, b}, x)
#define INT1(op, name) \
  case UnaryOp::op:    \
    return map<Int>(loop, out, name{a, b}, x)
#define CASE2(op, name) \
  case BinaryOp::op:    \
    return map<float>(loop, out, name{}, x, y)
#define INT2(op, name) \
  case BinaryOp::op:   \
    return map<Int>(loop, out, name{}, x, y)

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
    switch (op) {
      INT1(kNegate, IntNegate);
      INT1(kAbsolute, IntAbsolute);
      INT1(kSquare, IntSquare);
      INT1(kLogicalNot, IntNot);
      INT1(kAffine, IntAffine);
      INT1(kClamp, IntClamp);
      default:
        return map<Int>(loop, out, IntSame{a, b}, x);
    }
  }
  switch (op) {
    CASE1(kCopy, Same);
    CASE1(kNegate, Negate);
    CASE1(kAbsolute, Absolute);
    CASE1(kExp, Exp);
    CASE1(kLog, Log);
    CASE1(kSqrt, Sqrt);
    CASE1(kRsqrt, Rsqrt);
    CASE1(kSquare, Square);
    CASE1(kReciprocal, Reciprocal);
    CASE1(kSin, Sin);
    CASE1(kCos, Cos);
    CASE1(kSigmoid, Sigmoid);
    CASE1(kTanh, Tanh);
    CASE1(kSilu, Silu);
    CASE1(kRelu, Relu);
    CASE1(kGelu, Gelu);
    CASE1(kGeluTanh, GeluTanh);
    CASE1(kErf, Erf);
    CASE1(kLogicalNot, LogicalNot);
    CASE1(kAffine, Affine);
    CASE1(kPower, Power);
    CASE1(kClamp, Clamp);
  }
}

void binary(BinaryOp op, const Loop& loop, const Operand& out, const Operand& x, const Operand& y) {
  if (!is_floating(x.dtype) && !is_floating(y.dtype) && !is_floating(out.dtype)) {
    switch (op) {
      INT2(kAdd, IntAdd);
      INT2(kSubtract, IntSubtract);
      INT2(kMultiply, IntMultiply);
      INT2(kMaximum, IntMaximum);
      INT2(kMinimum, IntMinimum);
      INT2(kEqual, IntEqual);
      INT2(kNotEqual, IntNotEqual);
      INT2(kLess, IntLess);
      INT2(kLessEqual, IntLessEqual);
      INT2(kGreater, IntGreater);
      INT2(kGreaterEqual, IntGreaterEqual);
      INT2(kLogicalAnd, IntAnd);
      INT2(kLogicalOr, IntOr);
      default:
        break;
    }
  }
  switch (op) {
    CASE2(kAdd, Add);
    CASE2(kSubtract, Subtract);
    CASE2(kMultiply, Multiply);
    CASE2(kDivide, Divide);
    CASE2(kMaximum, Maximum);
    CASE2(kMinimum, Minimum);
    CASE2(kEqual, Equal);
    CASE2(kNotEqual, NotEqual);
    CASE2(kLess, Less);
    CASE2(kLessEqual, LessEqual);
    CASE2(kGreater, Greater);
    CASE2(kGreaterEqual, GreaterEqual);
    CASE2(kLogicalAnd, And);
    CASE2(kLogicalOr, Or);
    CASE2(kSigmoidGradient, SigmoidGradient);
    CASE2(kTanhGradient, TanhGradient);
    CASE2(kSiluGradient, SiluGradient);
    CASE2(kReluGradient, ReluGradient);
    CASE2(kGeluGradient, GeluGradient);
    CASE2(kGeluTanhGradient, GeluTanhGradient);
  }
}

#undef CASE1
#undef CASE2
#undef INT1
#undef INT2

void where(const Loop& loop, const Operand& out, const Operand& condition, const Operand& x,
           const Operand& y) {
  if (is_floating(out.dtype) || is_floating(condition.dtype)) {
    map<float>(loop, out, Select<float>{}, condition, x, y);
  } else {
    map<Int>(loop, out, Select<Int>{}, condition, x, y);
  }
}

}  // namespace fms_accel::cuda
