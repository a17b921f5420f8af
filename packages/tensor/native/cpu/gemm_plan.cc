#include "cpu/gemm_plan.h"

#include "cpu/gemm_tile.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

// A shared operand is packed in pieces of at most this size (of a last-level cache shared by some
// cores) and, for that, at least kStrip lanes wide: the other operand is packed once for each
// strip, which costs about 1 / 128 of the product.
constexpr int64_t kSharedBytes = 8 << 20, kStrip = 1024;
// All blocks of k that are packed at once are read again for each item. Where they are not all
// packed at once anyway, more than this falls out of a last-level cache that others use too.
constexpr int64_t kBytesOfAll = 4 << 20, kBytesAtOnce = 2 << 20;
// Rows or columns of a private operand in one chunk: bounds the running sums of long k.
constexpr int64_t kPrivateChunk = 4096;
// Columns at once where B is prepacked: bounds the running sums of one item.
constexpr int64_t kPrepackedStrip = 2048;
// Products below this many multiplications are not worth waking a thread for.
constexpr int64_t kParallelWork = 128 << 10;
// Items for each thread, where there are enough panels: a thread that is held up leaves its share
// to the others.
constexpr int64_t kItemsPerThread = 4;
// Fewer rows in a panel than this keep the multipliers waiting for each other.
constexpr int64_t kFewRows = kTileRows * 4 / 7;
// Columns of C up to which reading rows of A in place beats packing them.
constexpr int64_t kDirectColumns = kTileColumns;
// Rows of C up to which reading columns of B in place beats packing them.
constexpr int64_t kRowsOfDirectColumns = 2 * kTileRows;

int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

int values_per_step(Compute compute) {
  int values = 1;
  with_step(compute, [&](auto step) { values = decltype(step)::kValues; });
  return values;
}

bool as_multiplied(Compute compute, DType dtype) {
  return dtype == (compute == Compute::kFloat32 ? DType::kFloat32 : DType::kBFloat16);
}

// A dense operand without an index, each of its steps whole.
bool is_plain(const GemmArguments& g, const GemmSource& source) {
  return source.pack == nullptr && source.prepacked == nullptr && source.tail_k == 0 &&
         source.dense.lane_index == nullptr && source.dense.k_index == nullptr &&
         g.k % values_per_step(g.compute) == 0;
}

bool can_read_rows_in_place(const GemmArguments& g) {
  // Rows of A are read as words: one float or a pair of bfloat16.
  const bool are_words = g.compute == Compute::kFloat32 || values_per_step(g.compute) == 2;
  return is_plain(g, g.a) && g.a.dense.k_stride == 1 && are_words &&
         as_multiplied(g.compute, g.a.dense.dtype);
}

bool can_read_columns_in_place(const GemmArguments& g) {
  const int64_t last = g.n % kTileColumns;  // whole vectors only
  return is_plain(g, g.b) && g.b.dense.lane_stride == 1 && (last == 0 || last == kLanes) &&
         as_multiplied(g.compute, g.b.dense.dtype);
}

// Lanes of a strip of a shared operand, and blocks of k packed at once.
int64_t strip_of(int64_t extent, const KBlocks& blocks, int64_t block_steps) {
  const int64_t fitting = kSharedBytes / 4 / (blocks.count * block_steps);
  return min_of(extent, max_of(kStrip, fitting / kTileColumns * kTileColumns));
}

}  // namespace

KBlocks k_blocks(Compute compute, int64_t k) {
  const int values = values_per_step(compute);
  const int64_t tail = kTailSteps * values, limit = kBlockSteps * values;
  const int64_t wanted = k <= tail ? 1 : divide_up(k - tail, limit);
  const int64_t size = max_of(kBlockGranule, round_up(divide_up(k, wanted), kBlockGranule));
  return {k, size, max_of(1, divide_up(k, size))};
}

Panels row_panels(int64_t origin, int64_t extent, int64_t height) {
  const int64_t count = divide_up(extent, height);
  return {origin, extent, height, count, extent - (count - 1) * height};
}
Panels column_panels(int64_t origin, int64_t extent) {
  const int64_t count = divide_up(extent, kTileColumns);
  const int64_t last = extent - (count - 1) * kTileColumns;
  return {origin, extent, kTileColumns, count, last <= kLanes ? kLanes : kTileColumns};
}

namespace {

// The height of panels for which the thread with most rows has least to do; a panel costs about
// half a row besides its rows.
int64_t height_of(int64_t rows, int64_t most, int64_t team) {
  int64_t best = 1;
  double least = 0;
  for (int64_t height = min_of(most, rows); height >= 1; --height) {
    if (height < min_of(kFewRows, most) && least > 0) break;
    const double cost = static_cast<double>(divide_up(divide_up(rows, height), team)) *
                        (static_cast<double>(height) + 0.5);
    if (least == 0 || cost < least) best = height, least = cost;
  }
  return best;
}

}  // namespace

Plan make_plan(const GemmArguments& g, int threads) {
  Plan plan;
  plan.blocks = k_blocks(g.compute, g.k);
  const int64_t block_steps = divide_up(plan.blocks.size, values_per_step(g.compute));
  const bool prepacked = g.b.prepacked != nullptr;
  const int64_t team = g.m * g.n * g.k < kParallelWork ? 1 : threads;

  plan.direct_a = g.n <= kDirectColumns && can_read_rows_in_place(g);
  plan.direct_b = !plan.direct_a && g.m <= kRowsOfDirectColumns && g.n >= team * kTileColumns &&
                  g.n > g.m && can_read_columns_in_place(g);
  const int64_t most_rows = plan.direct_a ? kDirectRows : kTileRows;
  plan.share_b = prepacked || plan.direct_a || g.m >= g.n;  // never with direct_b
  plan.share_a = !plan.share_b || (prepacked && !plan.direct_a && g.m < g.n);
  plan.rows_inside = plan.share_b && !plan.share_a;
  const int64_t row_pieces = divide_up(g.m, plan.direct_a ? most_rows : kFewRows);
  const int64_t column_pieces = divide_up(g.n, kTileColumns);
  if (team > 1 && (plan.share_b ? row_pieces : column_pieces) < team)
    plan.share_a = plan.share_b = true;
  if (plan.direct_a) plan.share_a = false;

  plan.chunk_rows =
      min_of(g.m, plan.share_a ? strip_of(g.m, plan.blocks, block_steps) : kPrivateChunk);
  plan.chunk_columns = min_of(g.n, prepacked      ? (plan.blocks.count > 1 ? kPrepackedStrip : g.n)
                                   : plan.share_b ? strip_of(g.n, plan.blocks, block_steps)
                                                  : kPrivateChunk);
  const int64_t lanes_shared = max_of(plan.share_a ? plan.chunk_rows : 1,
                                      plan.share_b && !prepacked ? plan.chunk_columns : 1);
  const int64_t block_bytes = 4 * block_steps * lanes_shared;
  plan.blocks_at_once = plan.blocks.count * block_bytes <= kBytesOfAll
                            ? plan.blocks.count
                            : clamp_of(kBytesAtOnce / block_bytes, 1, plan.blocks.count);

  // Threads share out columns only: each goes over all rows.
  const bool cut_columns = plan.share_a && (!plan.share_b || (prepacked && row_pieces >= team));
  // Rows of a panel: as many as fit, fewer where that gives all threads the same.
  plan.height = height_of(plan.chunk_rows, most_rows, cut_columns ? 1 : team);

  // Items: what a thread packs for itself must fit, and every thread should have the same.
  const auto cut = [&](int64_t count, int64_t panel_lanes, int64_t fewest_panels) {
    const int64_t fitting = max_of(1, kPrivateBytes / (4 * block_steps * panel_lanes)),
                  share = divide_up(count, team);
    const int64_t spare = team == 1 ? 1 : min_of(kItemsPerThread, share / fewest_panels);
    return Cut{min_of(team, count), max_of(divide_up(share, fitting), max_of(1, spare))};
  };
  const int64_t row_panel_count = divide_up(plan.chunk_rows, plan.height);
  const int64_t column_panel_count = divide_up(plan.chunk_columns, kTileColumns);
  if (plan.direct_b) {
    plan.columns = {team, 1};  // rows of B are read in runs that are as long as possible
  } else if (cut_columns) {
    plan.columns = cut(column_panel_count, kTileColumns, 2);
  } else {
    plan.rows = cut(row_panel_count, plan.height, 3);
    if (plan.share_a) {
      plan.columns = {
          1, clamp_of(divide_up(kItemsPerThread * team, plan.rows.items()), 1, column_panel_count)};
    }
  }
  return plan;
}

}  // namespace fms_accel::FMS_ACCEL_ISA
