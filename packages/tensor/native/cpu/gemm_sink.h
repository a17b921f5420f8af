// Where tiles go: the scaling, bias and conversion that lie between the sums and C.
#pragma once
#include "cpu/gemm_simd.h"

namespace fms_accel::FMS_ACCEL_ISA {

// The place of a tile in C, and in its running sums over blocks of k.
struct TilePlace {
  int64_t row, rows, column, columns;
  float* sums;  // of this tile's first element; null where k is one block
  int64_t sums_stride;
  bool first, last;  // among the blocks of k
};

// Completes the product of one block of k, values[i * kTileColumns + j] (which it may overwrite):
// adds beta * C and the bias in the first block and the running sums in later ones; stores to the
// running sums, or to the sink in the last block.
void finish_tile(const GemmArguments& g, const TilePlace& place, float* values);

}  // namespace fms_accel::FMS_ACCEL_ISA
