// What the kernel sources of the cuda device define; table.cc gathers it into a Kernels table.
#pragma once
#include "cpu/attention.h"
#include "cpu/few_rows.h"
#include "cpu/kernels.h"
#include "cpu/matmul.h"
#include "cpu/rms_norm.h"
#include "cpu/rotary.h"

namespace fms_accel::cuda {

// elementwise.cu
void unary(UnaryOp op, float a, float b, const Loop&, const Operand& out, const Operand& x);
void binary(BinaryOp op, const Loop&, const Operand& out, const Operand& x, const Operand& y);
void where(const Loop&, const Operand& out, const Operand& condition, const Operand& x,
           const Operand& y);

// reduce.cu
void reduce(ReduceOp op, const Reduction&);
void argmax(const Reduction&);
void logsumexp(const Reduction&);
void cumsum(const Reduction&, int64_t out_stride, bool reverse);

// softmax.cu
void softmax(bool logarithm, const Loop& kept, int64_t length, const RowOperand& out,
             const RowOperand& x);
void softmax_gradient(bool logarithm, const Loop& kept, int64_t length, const RowOperand& out,
                      const RowOperand& y, const RowOperand& gradient);

// cross_entropy.cu
void cross_entropy(const CrossEntropy&);
void cross_entropy_gradient(const CrossEntropy&, void* out, const float* scales,
                            int64_t scale_stride);
void cross_entropy_in_place(const CrossEntropy&, void* logits);

// indexing.cu
void gather(const IndexedLines&);
void scatter_add(const IndexedLines&);
void index_select(const IndexedRows&);
void index_add(const IndexedRows&);

// sort.cu
void order(const Reduction&, int64_t count, bool descending, int64_t out_stride);
// Sorts each of `rows` rows of `length` pairs by (key, position), ascending; `length` is a power of
// two.
struct SortPair {
  uint64_t key;
  int64_t position;
};
void sort_rows(SortPair* pairs, int64_t rows, int64_t length);

// random.cu
void uniform(const Loop&, const Operand& out, float low, float high, Randomness random);
void normal(const Loop&, const Operand& out, float mean, float deviation, Randomness random);
void dropout(const Loop&, const Operand& out, const Operand& x, uint32_t threshold, float scale,
             Randomness random);

// optimizer.cu
double sum_of_squares(const FlatTensor* tensors, int64_t count);
bool scale(const FlatTensor* tensors, int64_t count, float factor, bool asks);
void clip(const FlatTensor* tensors, int64_t count, double max_norm, const float* values,
          int64_t value_count, float* outcome);
void adamw(const AdamWTensor* tensors, int64_t count, double beta1, double beta2, float eps,
           const float* outcome);

// matmul.cu
void matmul(const MatmulArguments&);
extern const GemmKernels kGemmKernels;

// few_rows.cu, rms_norm.cu, rotary.cu, swiglu.cu
void few_rows(const FewRowsArguments&);
void rms_norm(const RmsNorm&);
void rms_norm_gradient(const RmsNormGradient&);
void rotary(const Rotary&);
void swiglu(const Loop& loop, const Operand& out, const Operand& gate, const Operand& up);
void swiglu_gradient(const Loop& loop, const Operand& gate_gradient, const Operand& up_gradient,
                     const Operand& gate, const Operand& up, const Operand& gradient);

// attention.cu
void attention_forward(const AttentionArguments&);
void attention_backward(const AttentionArguments&);

}  // namespace fms_accel::cuda
