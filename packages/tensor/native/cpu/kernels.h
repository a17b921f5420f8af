// The table of kernels of one backend. Launchers (native/ops) check shapes, dtypes and devices and
// then call through this table; kernels know raw pointers, strides in elements and nothing of
// tensors. The CPU has one table for each instruction set (cpu/isa.h); another device brings a
// table of its own.
//
// Every kernel parallelises itself over items whose bounds depend on shapes only, so results do not
// depend on the number of threads.
#pragma once
#include <cstdint>

#include "engine/dtype.h"

namespace fms_accel {

struct GemmKernels;         // cpu/gemm.h
struct AttentionArguments;  // cpu/attention.h
struct FewRowsArguments;    // cpu/few_rows.h
struct RmsNorm;             // cpu/rms_norm.h
struct RmsNormGradient;     // cpu/rms_norm.h
struct Rotary;              // cpu/rotary.h

constexpr int kMaxLoopDims = 8;

// An n-dimensional iteration, outermost dimension first. Launchers merge dimensions, so `ndim` is
// as small as strides allow.
struct Loop {
  int ndim = 0;
  int64_t shape[kMaxLoopDims] = {};
  int64_t numel = 0;
};

// One operand of a Loop; a stride of 0 repeats the element (broadcasting).
struct Operand {
  void* data = nullptr;
  DType dtype = DType::kFloat32;
  int64_t strides[kMaxLoopDims] = {};
};

// The numbers of these enumerations are shared with src/ops/elementwise.ts.
enum class UnaryOp : int32_t {
  kCopy,  // also the cast
  kNegate,
  kAbsolute,
  kExp,
  kLog,
  kSqrt,
  kRsqrt,
  kSquare,
  kReciprocal,
  kSin,
  kCos,
  kSigmoid,
  kTanh,
  kSilu,
  kRelu,
  kGelu,
  kGeluTanh,
  kErf,
  kLogicalNot,
  kAffine,  // a * x + b
  kPower,   // x ^ a
  kClamp,   // min(max(x, a), b)
};

enum class BinaryOp : int32_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kMaximum,
  kMinimum,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kLogicalAnd,
  kLogicalOr,
  // Gradients whose value needs two operands (x or y, and the incoming gradient g): one pass in
  // place of several.
  kSigmoidGradient,   // y, g: g * y * (1 - y)
  kTanhGradient,      // y, g: g * (1 - y * y)
  kSiluGradient,      // x, g
  kReluGradient,      // x, g
  kGeluGradient,      // x, g
  kGeluTanhGradient,  // x, g
};

// x seen as kept positions times reduced ones (at least one of each). `x` and `out` have strides
// over `kept`.
struct Reduction {
  Loop kept, reduced;
  Operand x, out;
  int64_t reduced_strides[kMaxLoopDims] = {};  // of x
};

// One operand of a computation along rows: strides over the kept positions, and the stride along a
// row.
struct RowOperand {
  Operand kept;
  int64_t stride = 1;
};

// Logits [rows, classes] and what the loss needs of them.
struct CrossEntropy {
  const void* logits = nullptr;
  DType dtype = DType::kFloat32;
  int64_t rows = 0, classes = 0;
  int64_t row_stride = 0, stride = 1;
  const int64_t* labels = nullptr;  // -1: the row is ignored, its loss and gradient are 0
  float* losses = nullptr;          // [rows]; forward only
  float* logsumexp = nullptr;       // [rows]; written by forward, read by the gradient
};

// Lines along one dimension: for each line, `length` indices (of valid range) that point into out
// or x.
struct IndexedLines {
  Loop lines;
  int64_t length = 0;
  RowOperand out, x;
  Operand index_lines;  // strides of `index` over the lines
  const int64_t* index = nullptr;
  int64_t index_stride = 1;
};

// Contiguous source [outer, source_rows, inner] and target [outer, target_rows, inner], and one
// index for each of `count` rows; a negative one is skipped where rows are added.
struct IndexedRows {
  const void* source = nullptr;
  void* target = nullptr;
  DType dtype = DType::kFloat32;
  int64_t outer = 1, inner = 1, source_rows = 0, target_rows = 0, count = 0;
  const int64_t* index = nullptr;
};

// The state that a draw starts from (cpu/philox.h).
struct Randomness {
  uint64_t seed = 0;
  uint64_t offset = 0;  // in blocks of four words
  // On a device, where draws of a graph find what changes from launch to launch: the seed that
  // holds in place of `seed`, and what is added to `offset`.
  const uint64_t* state = nullptr;
};

// The elements of a contiguous tensor.
struct FlatTensor {
  void* data = nullptr;
  DType dtype = DType::kFloat32;
  int64_t numel = 0;
};

// Rows of a source [count, inner] on their way to rows of a target [rows, inner], both contiguous.
// Row j goes to row index[j], times weights[j].
struct WeightedRows {
  int64_t count = 0, rows = 0, inner = 1;
  const int64_t* index = nullptr;  // [count], in [0, rows)
  const float* weights = nullptr;  // [count], or null: all are 1
  FlatTensor source, target;       // for the gradients: the target's
  FlatTensor source_gradient;      // without data where it is not asked for
  float* weights_gradient = nullptr;
};

// A parameter, its gradient and AdamW state of as many elements, and the numbers of this step.
struct AdamWTensor {
  FlatTensor parameter, gradient;
  float* exp_avg = nullptr;
  float* exp_avg_sq = nullptr;
  float decay = 1;       // 1 - learning rate * weight decay
  float step_size = 0;   // learning rate / (1 - beta1^step)
  float correction = 1;  // sqrt(1 - beta2^step)
  // These three, where memory of the device has them: a graph reads them whenever it is launched.
  const float* numbers = nullptr;
};

enum class ReduceOp : int32_t { kSum, kMean, kMaximum, kMinimum };

struct Kernels {
  const GemmKernels* gemm;
  void (*few_rows)(const FewRowsArguments&);
  void (*rms_norm)(const RmsNorm&);
  void (*rms_norm_gradient)(const RmsNormGradient&);
  void (*rotary)(const Rotary&);
  // out = silu(gate) * up; the gradients of gate and up from that of out. One floating dtype,
  // values rounded to it where the composed form stores them.
  void (*swiglu)(const Loop&, const Operand& out, const Operand& gate, const Operand& up);
  void (*swiglu_gradient)(const Loop&, const Operand& gate_gradient, const Operand& up_gradient,
                          const Operand& gate, const Operand& up, const Operand& gradient);
  void (*attention_forward)(const AttentionArguments&);
  void (*attention_backward)(const AttentionArguments&);
  // out = op(x). Floating operands are computed in float32, integers in int64; the result is
  // converted to out's dtype.
  void (*unary)(UnaryOp op, float a, float b, const Loop&, const Operand& out, const Operand& x);
  void (*binary)(BinaryOp op, const Loop&, const Operand& out, const Operand& x, const Operand& y);
  void (*where)(const Loop&, const Operand& out, const Operand& condition, const Operand& x,
                const Operand& y);
  // out = the reduction of x; sums of integers in int64.
  void (*reduce)(ReduceOp op, const Reduction&);
  // out (int64) = index of the first largest element, in the order of `reduced`.
  void (*argmax)(const Reduction&);
  void (*logsumexp)(const Reduction&);
  // Running sums along the one reduced dimension, whose stride in out is `out_stride`.
  void (*cumsum)(const Reduction&, int64_t out_stride, bool reverse);
  // out = softmax of x along rows of `length` >= 1, or its logarithm.
  void (*softmax)(bool logarithm, const Loop& kept, int64_t length, const RowOperand& out,
                  const RowOperand& x);
  // out = the gradient of x, from the result y and its gradient.
  void (*softmax_gradient)(bool logarithm, const Loop& kept, int64_t length, const RowOperand& out,
                           const RowOperand& y, const RowOperand& gradient);
  void (*gather)(const IndexedLines&);       // out[line][j] = x[line][index[line][j]]
  void (*scatter_add)(const IndexedLines&);  // out[line][index[line][j]] += x[line][j], j ascending
  void (*index_select)(const IndexedRows&);  // target row j = source row index[j]
  void (*index_add)(
      const IndexedRows&);  // target row index[j] += source row j, j ascending, rounded once
  // Target row i = the sum of its weighted rows, each rounded to the target's dtype, j ascending; 0
  // where there is none.
  void (*add_weighted_rows)(const WeightedRows&);
  // The gradients of the source and of the weights, from that of the target.
  void (*weighted_rows_gradient)(const WeightedRows&);
  // out (int64, stride `out_stride` along the reduced dimension) = positions of the first `count`
  // elements in order.
  void (*order)(const Reduction&, int64_t count, bool descending, int64_t out_stride);
  // Element i of the loop depends on (random, i) only.
  void (*uniform)(const Loop&, const Operand& out, float low, float high, Randomness random);
  void (*normal)(const Loop&, const Operand& out, float mean, float deviation, Randomness random);
  // out = x * scale where the random word is at least `threshold`, else 0.
  void (*dropout)(const Loop&, const Operand& out, const Operand& x, uint32_t threshold,
                  float scale, Randomness random);
  double (*sum_of_squares)(const FlatTensor* tensors, int64_t count);
  // Every element times `factor`, in place; whether all were finite before, or true where nobody
  // `asks`: a device is waited for to answer.
  bool (*scale)(const FlatTensor* tensors, int64_t count, float factor, bool asks);
  // Scales by max_norm / (norm + 1e-6) where that is not at least 1. `outcome` [2] becomes the
  // norm, and 1 where it and all of `values` are finite, else 0. The host reads nothing of it.
  void (*clip)(const FlatTensor* tensors, int64_t count, double max_norm, const float* values,
               int64_t value_count, float* outcome);
  // Does nothing where outcome[1] is 0; `outcome` may be null.
  void (*adamw)(const AdamWTensor* tensors, int64_t count, double beta1, double beta2, float eps,
                const float* outcome);
  void (*cross_entropy)(const CrossEntropy&);
  // out [rows, classes] in the logits' dtype = (softmax - one hot) * scales[row * scale_stride].
  void (*cross_entropy_gradient)(const CrossEntropy&, void* out, const float* scales,
                                 int64_t scale_stride);
  // Both, with scales of 1, where the gradient takes the place of contiguous `logits`.
  void (*cross_entropy_in_place)(const CrossEntropy&, void* logits);
};

}  // namespace fms_accel
