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

// Panels of both operands stream from the second-level cache, so a block is as long as leaves room
// there for a few panels: C and the running sums are read and written once for each block. A block
// may be a little longer, so that a low-rank tail behind k stays with it.
constexpr int64_t kBlockSteps = 1024, kTailSteps = 96;
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

// Panels of a chunk as items. Each of `shares` threads' equal part is cut into `pieces`; items go
// round the parts, so that threads of equal speed end together.
struct Cut {
  int64_t shares = 1, pieces = 1;
  int64_t items() const { return shares * pieces; }
  int64_t begin(int64_t item, int64_t count) const { return at(item, 0, count); }
  int64_t end(int64_t item, int64_t count) const { return at(item, 1, count); }

 private:
  int64_t at(int64_t item, int64_t next, int64_t count) const {
    const int64_t share = item % shares, piece = item / shares + next;
    const int64_t first = count * share / shares, last = count * (share + 1) / shares;
    return first + (last - first) * piece / pieces;
  }
};

struct Plan {
  KBlocks blocks;
  int64_t blocks_at_once;  // of k, that shared operands are packed for
  bool share_a, share_b;
  bool direct_a;     // rows of A are read where they lie
  bool direct_b;     // columns of B are
  bool rows_inside;  // the inner loop goes over panels of A, which stay in the cache
  int64_t chunk_rows, chunk_columns;  // C is computed in chunks of this size, one after the other
  Cut rows, columns;                  // into items, of a whole chunk
  int64_t height;                     // rows of a panel of A
};
Plan make_plan(const GemmArguments& g, int threads);

}  // namespace fms_accel::FMS_ACCEL_ISA
