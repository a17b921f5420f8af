// What the kernel sources of one instruction set define; cpu/table.cc gathers it into a Kernels table.
#pragma once
#include "cpu/kernels.h"

namespace fms_accel::FMS_ACCEL_ISA {

// elementwise.cc
void unary(UnaryOp op, float a, float b, const Loop&, const Operand& out, const Operand& x);
void binary(BinaryOp op, const Loop&, const Operand& out, const Operand& x, const Operand& y);
void where(const Loop&, const Operand& out, const Operand& condition, const Operand& x, const Operand& y);

// reduce.cc
void reduce(ReduceOp op, const Reduction&);
void argmax(const Reduction&);
void logsumexp(const Reduction&);
void cumsum(const Reduction&, int64_t out_stride, bool reverse);

}  // namespace fms_accel::FMS_ACCEL_ISA
