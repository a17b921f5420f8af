// How a product is cut: blocks of k, panels, which operand is packed by all threads for all, and
// what one item computes.
//
// Only the blocks of k decide bits (cpu/gemm.h), and they depend on k alone. All else may depend on
// the machine:
//   shared    an operand packed once by all threads together, before the products; or prepacked
//   private   an operand of which each item packs its own part just before use, into the thread's
//   second-level cache
// The longer of m and n is private and is cut into items. Where it gives too few items, both are
// shared and C is cut both ways.
#pragma once
#include "cpu/gemm_simd.h"

namespace fms_accel::FMS_ACCEL_ISA {

// A block of 512 steps keeps a panel of A in the first-level cache and reads and writes C rarely. A
// block may be longer by a quarter less, so that a k slightly above 512 (576, or a low-rank tail
// behind it) stays in one piece.
constexpr int64_t kBlockSteps = 512, kTailSteps = 96;
// Block bounds are multiples of this, so that decoders of 4-bit formats always begin a whole group
// of values.
constexpr int64_t kBlockGranule = 64;

struct KBlocks {
  int64_t k, size, count;  // `size` values each, the last one what is left
  int64_t first(int64_t b) const { return b * size; }
  int64_t length(int64_t b) const { return min_of(size, k - b * size); }
};
KBlocks k_blocks(Compute compute, int64_t k);

// The panels of a run of rows of A (the last one may be lower) or of columns of B (the last one may
// be narrow).
struct Panels {
  int64_t origin = 0, extent = 0;  // in C
  int64_t full = 1, count = 0,
          last = 0;  // lanes of a panel, panels, lanes of the last panel (columns: padded)
  int64_t start(int64_t p) const { return p * full; }
  int64_t width(int64_t p) const { return p == count - 1 ? last : full; }
  int64_t lanes(int64_t p) const { return min_of(width(p), extent - start(p)); }
  // Of panels [begin, end): lanes, and lanes without padding.
  int64_t padded(int64_t begin, int64_t end) const {
    return begin == end ? 0 : start(end - 1) + width(end - 1) - start(begin);
  }
  int64_t lanes(int64_t begin, int64_t end) const {
    return min_of(start(end), extent) - start(begin);
  }
};
Panels row_panels(int64_t origin, int64_t extent, int64_t height);
Panels column_panels(int64_t origin, int64_t extent);

struct Plan {
  KBlocks blocks;
  int64_t blocks_at_once;  // of k, that shared operands are packed for
  bool share_a, share_b;
  bool direct_a;                      // rows of A are read where they lie
  int64_t chunk_rows, chunk_columns;  // C is computed in chunks of this size, one after the other
  int64_t row_items,
      column_items;  // items that a chunk is cut into, each way (fewer for a smaller chunk)
  int64_t height;    // rows of a panel of A
};
Plan make_plan(const GemmArguments& g, int threads);

}  // namespace fms_accel::FMS_ACCEL_ISA
