// The micro-kernels: one register tile of C from one panel of A and one of B (cpu/gemm.h says what a panel is).
#pragma once
#include "cpu/gemm_simd.h"

namespace fms_accel::FMS_ACCEL_ISA {

// c[i * c_stride + j] = (or, with `accumulate`, +=) sum over steps of a[step][i] * b[step][j], for as many rows as the kernel was
// chosen for and kTileColumns (narrow: kLanes) columns. The sum starts from 0 and is added to C once.
using TileKernel = void (*)(int64_t steps, const uint32_t* a, const uint32_t* b, float* c, int64_t c_stride, bool accumulate);
TileKernel tile_kernel(Compute compute, int64_t rows, bool narrow);

// The same with rows of A as they lie in memory, `a_stride` bytes apart, each k-contiguous and already in the type that is
// multiplied: where C has few columns, packing A would cost as much as the product.
using DirectKernel = void (*)(int64_t steps, const char* a, int64_t a_stride, const uint32_t* b, float* c, int64_t c_stride,
                              bool accumulate);
// Few enough for rows that lie a multiple of 4 KiB apart to stay side by side in an 8-way first-level cache.
constexpr int kDirectRows = kTileRows < 8 ? kTileRows : 8;
DirectKernel direct_kernel(Compute compute, int64_t rows, bool narrow);

}  // namespace fms_accel::FMS_ACCEL_ISA
