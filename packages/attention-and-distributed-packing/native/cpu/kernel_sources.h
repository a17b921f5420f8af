// What the kernel sources of one instruction set define; cpu/table.cc gathers it into an
// AttentionKernels table.
#pragma once
#include "cpu/kernels.h"

namespace fms_accel::FMS_ACCEL_ISA {

// forward.cc
constexpr int64_t kMostForwardRows = 2240;
void forward(const Attention&, const QueryItem&, void* scratch);
size_t forward_scratch(const Attention&, int64_t rows);

// backward.cc
void output_dots(const Attention&, int64_t first, int64_t end);
void backward(const Attention&, const KeyItem&, Turns&, void* scratch);
size_t backward_scratch(const Attention&, int64_t keys);

}  // namespace fms_accel::FMS_ACCEL_ISA
