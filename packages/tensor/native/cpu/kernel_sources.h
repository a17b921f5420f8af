// What the kernel sources of one instruction set define; cpu/table.cc gathers it into a Kernels
// table.
#pragma once
#include "cpu/kernels.h"

namespace fms_accel::FMS_ACCEL_ISA {

// matmul.cc
extern const GemmKernels kGemmKernels;

// few_rows.cc
void few_rows(const FewRowsArguments&);

// rms_norm.cc
void rms_norm(const RmsNorm&);
void rms_norm_gradient(const RmsNormGradient&);

// rotary.cc
void rotary(const Rotary&);

// swiglu.cc
void swiglu(const Loop& loop, const Operand& out, const Operand& gate, const Operand& up);
void swiglu_gradient(const Loop& loop, const Operand& gate_gradient, const Operand& up_gradient,
                     const Operand& gate, const Operand& up, const Operand& gradient);

// attention_forward.cc, attention_backward.cc
void attention_forward(const AttentionArguments&);
void attention_backward(const AttentionArguments&);

// elementwise.cc
void unary(UnaryOp op, float a, float b, const Loop&, const Operand& out, const Operand& x);
void binary(BinaryOp op, const Loop&, const Operand& out, const Operand& x, const Operand& y);
void where(const Loop&, const Operand& out, const Operand& condition, const Operand& x,
           const Operand& y);

// softmax.cc
void softmax(bool logarithm, const Loop& kept, int64_t length, const RowOperand& out,
             const RowOperand& x);
void softmax_gradient(bool logarithm, const Loop& kept, int64_t length, const RowOperand& out,
                      const RowOperand& y, const RowOperand& gradient);

// cross_entropy.cc
void cross_entropy(const CrossEntropy&);
void cross_entropy_gradient(const CrossEntropy&, void* out, const float* scales,
                            int64_t scale_stride);
void cross_entropy_in_place(const CrossEntropy&, void* logits);

// indexing.cc
void gather(const IndexedLines&);
void scatter_add(const IndexedLines&);
void index_select(const IndexedRows&);
void index_add(const IndexedRows&);
void add_weighted_rows(const WeightedRows&);
void weighted_rows_gradient(const WeightedRows&);
void order(const Reduction&, int64_t count, bool descending, int64_t out_stride);

// random.cc
void uniform(const Loop&, const Operand& out, float low, float high, Randomness random);
void normal(const Loop&, const Operand& out, float mean, float deviation, Randomness random);
void dropout(const Loop&, const Operand& out, const Operand& x, uint32_t threshold, float scale,
             Randomness random);

// optimizer.cc
double sum_of_squares(const FlatTensor* tensors, int64_t count);
bool scale(const FlatTensor* tensors, int64_t count, float factor, bool asks);
void clip(const FlatTensor* tensors, int64_t count, double max_norm, const float* values,
          int64_t value_count, float* outcome);
void adamw(const AdamWTensor* tensors, int64_t count, double beta1, double beta2, float eps,
           const float* outcome);

// reduce.cc
void reduce(ReduceOp op, const Reduction&);
void argmax(const Reduction&);
void logsumexp(const Reduction&);
void cumsum(const Reduction&, int64_t out_stride, bool reverse);

}  // namespace fms_accel::FMS_ACCEL_ISA
