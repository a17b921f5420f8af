// Products of few rows of A: what decoding token by token does. B is read where it lies, once, at
// the speed of memory; packing it would write and read it again. The sums are those of cpu/gemm.h.
#pragma once
#include "cpu/gemm_simd.h"

namespace fms_accel::FMS_ACCEL_ISA {

// Whether `multiply_few_rows` can take a product, and should.
bool has_few_rows(const GemmArguments& g);
void multiply_few_rows(const GemmArguments& g);

}  // namespace fms_accel::FMS_ACCEL_ISA
