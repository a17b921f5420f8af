// The micro-kernels: one register tile of C from one panel of A and one of B (cpu/gemm.h says what
// a panel is).
#pragma once
#include "cpu/gemm_simd.h"

namespace fms_accel::FMS_ACCEL_ISA {

// What becomes of the sums of a tile: c = sum, c += sum, or c = sum rounded to bfloat16. Strides
// are in elements of C.
enum class TileStore : int32_t { kFloats, kAddToFloats, kBf16 };

// c[i * c_stride + j] = (or +=) sum over steps of a[step][i] * b[step][j], for as many rows as the
// kernel was chosen for and kTileColumns (narrow: kLanes) columns. The sum starts from 0 and is
// added to C once.
using TileKernel = void (*)(int64_t steps, const uint32_t* a, const uint32_t* b, void* c,
                            int64_t c_stride, TileStore store);
TileKernel tile_kernel(Compute compute, int64_t rows, bool narrow);

// The same with rows of A as they lie in memory, `a_stride` bytes apart, each k-contiguous and
// already in the type that is multiplied: where C has few columns, packing A would cost as much as
// the product.
using DirectKernel = void (*)(int64_t steps, const char* a, int64_t a_stride, const uint32_t* b,
                              void* c, int64_t c_stride, TileStore store);
DirectKernel direct_kernel(Compute compute, int64_t rows, bool narrow);

// The same with columns of B as they lie in memory: rows of B `b_stride` bytes apart, their
// elements contiguous and in the type that is multiplied, a whole number of steps: where C has few
// rows, packing B would cost as much as the product. The sum goes on from `before`, rows
// kTileColumns apart, or starts from 0 where that is null.
using ColumnsKernel = void (*)(int64_t steps, const uint32_t* a, const char* b, int64_t b_stride,
                               const float* before, void* c, int64_t c_stride, TileStore store);
ColumnsKernel columns_kernel(Compute compute, int64_t rows, bool narrow);

// Rows of A that a direct kernel reads side by side: few enough to stay in an 8-way first-level
// cache when they lie a multiple of 4 KiB apart, enough sums to cover the latency of a product.
constexpr int kDirectRows = kTileRows < 8 ? kTileRows : 8;

}  // namespace fms_accel::FMS_ACCEL_ISA
