#include "cpu/dry_run.h"

#include <cstring>

#include "cpu/attention.h"
#include "cpu/gemm.h"
#include "cpu/matmul.h"

namespace fms_accel {
namespace {

thread_local bool dry_run = false;
const Kernels* computing = nullptr;  // the kernels that `dry_kernels` was made from

template <class... Operands>
bool all_integers(const Operands&... operands) {
  return (!is_floating(operands.dtype) && ...);
}

// Calls `write` with the offset of every element of an operand, in the order of the loop.
template <class Write>
void for_each_offset(const Loop& loop, const Operand& out, Write write) {
  for (int64_t i = 0; i < loop.numel; ++i) {
    int64_t rest = i, offset = 0;
    for (int d = loop.ndim - 1; d >= 0; --d) {
      offset += rest % loop.shape[d] * out.strides[d];
      rest /= loop.shape[d];
    }
    write(i, offset);
  }
}

// Integers that would follow from floats: 0.
void clear(const Loop& loop, const Operand& out) {
  if (is_floating(out.dtype)) return;
  const size_t size = item_size(out.dtype);
  for_each_offset(loop, out, [&](int64_t, int64_t offset) {
    memset(static_cast<char*>(out.data) + offset * static_cast<int64_t>(size), 0, size);
  });
}

void unary(UnaryOp op, float a, float b, const Loop& loop, const Operand& out, const Operand& x) {
  if (all_integers(x)) {
    if (!is_floating(out.dtype) || loop.numel == 1) computing->unary(op, a, b, loop, out, x);
  } else {
    clear(loop, out);
  }
}

void binary(BinaryOp op, const Loop& loop, const Operand& out, const Operand& x, const Operand& y) {
  if (all_integers(x, y, out)) return computing->binary(op, loop, out, x, y);
  clear(loop, out);
}

void where(const Loop& loop, const Operand& out, const Operand& condition, const Operand& x,
           const Operand& y) {
  if (all_integers(out, condition, x, y)) computing->where(loop, out, condition, x, y);
}

void reduce(ReduceOp op, const Reduction& r) {
  if (all_integers(r.x, r.out)) computing->reduce(op, r);
}

void argmax(const Reduction& r) {
  if (all_integers(r.x)) return computing->argmax(r);
  clear(r.kept, r.out);
}

void cumsum(const Reduction& r, int64_t out_stride, bool reverse) {
  if (all_integers(r.x)) computing->cumsum(r, out_stride, reverse);
}

// Every line takes the positions after those of the line before: a router then uses its experts
// alike.
void order(const Reduction& r, int64_t count, bool descending, int64_t out_stride) {
  if (all_integers(r.x)) return computing->order(r, count, descending, out_stride);
  int64_t* const out = static_cast<int64_t*>(r.out.data);
  const int64_t length = r.reduced.numel;
  for_each_offset(r.kept, r.out, [&](int64_t line, int64_t offset) {
    for (int64_t j = 0; j < count; ++j) {
      out[offset + j * out_stride] = (line % length * count + j) % length;
    }
  });
}

void gather(const IndexedLines& lines) {
  if (all_integers(lines.x.kept)) computing->gather(lines);
}

void scatter_add(const IndexedLines& lines) {
  if (all_integers(lines.x.kept)) computing->scatter_add(lines);
}

void index_select(const IndexedRows& rows) {
  if (all_integers(rows)) computing->index_select(rows);
}

void index_add(const IndexedRows& rows) {
  if (all_integers(rows)) computing->index_add(rows);
}

GemmKernels dry_gemm(const GemmKernels& real) {
  GemmKernels dry = real;
  dry.gemm = [](const GemmArguments&) {};
  dry.matmul = [](const MatmulArguments&) {};
  dry.matmul_each = [](const MatmulArguments*, int64_t) {};
  dry.prepack = [](Compute, int64_t, int64_t, const GemmSource&, void*) {};
  return dry;
}

Kernels make_dry(const Kernels& real) {
  static const GemmKernels gemm = dry_gemm(*real.gemm);
  Kernels dry = real;
  dry.gemm = &gemm;
  dry.few_rows = [](const FewRowsArguments&) {};
  dry.rms_norm = [](const RmsNorm&) {};
  dry.rms_norm_gradient = [](const RmsNormGradient&) {};
  dry.rotary = [](const Rotary&) {};
  dry.swiglu = [](const Loop&, const Operand&, const Operand&, const Operand&) {};
  dry.swiglu_gradient = [](const Loop&, const Operand&, const Operand&, const Operand&,
                           const Operand&, const Operand&) {};
  dry.attention_forward = [](const AttentionArguments&) {};
  dry.attention_backward = [](const AttentionArguments&) {};
  dry.unary = unary;
  dry.binary = binary;
  dry.where = where;
  dry.reduce = reduce;
  dry.argmax = argmax;
  dry.logsumexp = [](const Reduction&) {};
  dry.cumsum = cumsum;
  dry.softmax = [](bool, const Loop&, int64_t, const RowOperand&, const RowOperand&) {};
  dry.softmax_gradient = [](bool, const Loop&, int64_t, const RowOperand&, const RowOperand&,
                            const RowOperand&) {};
  dry.gather = gather;
  dry.scatter_add = scatter_add;
  dry.index_select = index_select;
  dry.index_add = index_add;
  dry.add_weighted_rows = [](const WeightedRows&) {};
  dry.weighted_rows_gradient = [](const WeightedRows&) {};
  dry.order = order;
  dry.uniform = [](const Loop&, const Operand&, float, float, Randomness) {};
  dry.normal = [](const Loop&, const Operand&, float, float, Randomness) {};
  dry.dropout = [](const Loop&, const Operand&, const Operand&, uint32_t, float, Randomness) {};
  dry.sum_of_squares = [](const FlatTensor*, int64_t) { return 0.0; };
  dry.scale = [](const FlatTensor*, int64_t, float, bool) { return true; };
  dry.clip = [](const FlatTensor*, int64_t, double, const float*, int64_t, float*) {};
  dry.adamw = [](const AdamWTensor*, int64_t, double, double, float, const float*) {};
  dry.cross_entropy = [](const CrossEntropy&) {};
  dry.cross_entropy_gradient = [](const CrossEntropy&, void*, const float*, int64_t) {};
  dry.cross_entropy_in_place = [](const CrossEntropy&, void*) {};
  return dry;
}

}  // namespace

const Kernels& dry_kernels(const Kernels& real) {
  computing = &real;
  static const Kernels dry = make_dry(real);
  return dry;
}

bool is_dry_run() { return dry_run; }
void set_dry_run(bool dry) { dry_run = dry; }

}  // namespace fms_accel
