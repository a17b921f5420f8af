// The loop nest (cpu/gemm.h says what it computes, cpu/gemm_plan.h how it is cut).
#include "cpu/gemm.h"

#include "cpu/gemm_few_rows.h"
#include "cpu/gemm_pack.h"
#include "cpu/gemm_plan.h"
#include "cpu/gemm_prepack.h"
#include "cpu/gemm_sink.h"
#include "cpu/gemm_tile.h"
#include "cpu/kernel_sources.h"
#include "engine/thread_pool.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

enum Purpose { kSharedA = 8, kSharedB, kPrivate, kSharedSums, kPrivateSums };

// Steps of columns in place, at least: a tile's sums are read and written once for each part.
constexpr int64_t kFewestSteps = 32;

template <class T>
T* scratch(Purpose purpose, int64_t words) {
  return static_cast<T*>(workspace(current_thread(), purpose, 4 * static_cast<size_t>(words)));
}

// Where the packed panels of one operand lie: those of block b from (b - first_block) * block_steps
// * padded on.
struct Packed {
  const uint32_t* base;
  int64_t padded, first_lane, first_block, block_steps;
  const uint32_t* panel(const Panels& panels, int64_t p, int64_t block, int64_t steps) const {
    return base + (block - first_block) * block_steps * padded +
           (first_lane + panels.start(p)) * steps;
  }
};

// One chunk of C for some blocks of k.
class Chunk {
 public:
  Chunk(const GemmArguments& g, const Plan& plan, const Panels& rows, const Panels& columns,
        int64_t first_block, int64_t end_block, float* sums)
      : g_(g),
        plan_(plan),
        rows_(rows),
        columns_(columns),
        first_block_(first_block),
        end_block_(end_block),
        sums_(sums) {}

  void run() {
    if (plan_.share_a) share(rows_, g_.a, kSharedA, a_);
    if (g_.b.prepacked != nullptr) {
      b_ = {prepacked_panels(g_.b.prepacked), padded_columns(g_.n), columns_.origin, 0,
            block_steps()};
    } else if (plan_.share_b) {
      share(columns_, g_.b, kSharedB, b_);
    }
    const int64_t column_items = plan_.columns.items();
    parallel_for(plan_.rows.items() * column_items, [&](int64_t item, int) {
      const int64_t r = item / column_items, c = item % column_items;
      const int64_t p0 = plan_.rows.begin(r, rows_.count), p1 = plan_.rows.end(r, rows_.count);
      const int64_t q0 = plan_.columns.begin(c, columns_.count),
                    q1 = plan_.columns.end(c, columns_.count);
      if (p0 < p1 && q0 < q1) compute(p0, p1, q0, q1);
    });
  }

 private:
  // C itself can hold running sums.
  bool sums_in_c() const {
    return g_.c.store == nullptr && g_.c.dtype == DType::kFloat32 && g_.c.column_stride == 1;
  }
  int64_t steps(int64_t block) const { return step_count(g_.compute, plan_.blocks.length(block)); }
  int64_t block_steps() const { return step_count(g_.compute, plan_.blocks.size); }

  // Panels [begin, end), one after the other.
  void pack(const Panels& panels, const GemmSource& source, int64_t begin, int64_t end,
            int64_t block, uint32_t* to) const {
    pack_source(g_.compute, source, g_.k,
                {to, panels.origin + panels.start(begin), panels.lanes(begin, end), panels.full,
                 panels.width(end - 1), plan_.blocks.first(block), plan_.blocks.length(block)});
  }

  // All threads pack all panels for all blocks at hand.
  void share(const Panels& panels, const GemmSource& source, Purpose purpose,
             Packed& packed) const {
    // Wide items are read along long runs of memory; every thread should have some.
    const int64_t all = panels.count * (end_block_ - first_block_);
    const int64_t together = clamp_of(all / (4 * usable_threads()), 2, 16),
                  groups = divide_up(panels.count, together);
    const int64_t padded = panels.padded(0, panels.count);
    auto* const base =
        scratch<uint32_t>(purpose, (end_block_ - first_block_) * block_steps() * padded);
    packed = {base, padded, 0, first_block_, block_steps()};
    parallel_for(groups * (end_block_ - first_block_), [&](int64_t item, int) {
      const int64_t block = first_block_ + item / groups, begin = item % groups * together;
      uint32_t* to = base + (block - first_block_) * block_steps() * padded +
                     panels.start(begin) * steps(block);
      pack(panels, source, begin, min_of(begin + together, panels.count), block, to);
    });
  }

  // One item: rows of panels [p0, p1) and columns of panels [q0, q1).
  void compute(int64_t p0, int64_t p1, int64_t q0, int64_t q1) const {
    const int64_t row0 = rows_.start(p0), column0 = columns_.start(q0);
    const int64_t row_count = rows_.padded(p0, p1), column_count = columns_.padded(q0, q1);
    Item item{p0, p1, q0, q1, nullptr, 0, 0, 0};
    if (plan_.blocks.count > 1) {
      if (sums_in_c()) {
        item.sums =
            static_cast<float*>(g_.c.data) + rows_.origin * g_.c.row_stride + columns_.origin;
        item.sums_stride = g_.c.row_stride;
      } else if (sums_ != nullptr) {
        item.sums = sums_;
        item.sums_stride = columns_.padded(0, columns_.count);
      } else {
        item.sums = scratch<float>(kPrivateSums, row_count * column_count);
        item.sums_stride = column_count;
        item.sums_row = row0;
        item.sums_column = column0;
      }
    }
    const int64_t own_lanes = max_of(plan_.share_a || plan_.direct_a ? 0 : row_count,
                                     plan_.share_b || plan_.direct_b ? 0 : column_count);
    uint32_t* own =
        own_lanes == 0 ? nullptr : scratch<uint32_t>(kPrivate, own_lanes * block_steps());
    for (int64_t block = first_block_; block < end_block_; ++block) {
      if (own != nullptr && !plan_.share_b) pack(columns_, g_.b, q0, q1, block, own);
      if (own != nullptr && plan_.share_b) pack(rows_, g_.a, p0, p1, block, own);
      multiply(item, block, own);
    }
  }

  struct Item {
    int64_t p0, p1, q0, q1;
    float* sums;
    int64_t sums_stride, sums_row, sums_column;  // and the place in the chunk of its first element
  };

  // All tiles of an item for one block.
  void multiply(const Item& item, int64_t block, const uint32_t* own) const {
    const int64_t count = steps(block);
    const auto a = [&](int64_t p) {
      if (plan_.share_a) return a_.panel(rows_, p, block, count);
      return own + (rows_.start(p) - rows_.start(item.p0)) * count;
    };
    const auto b = [&](int64_t q) {
      if (plan_.share_b) return b_.panel(columns_, q, block, count);
      return own + (columns_.start(q) - columns_.start(item.q0)) * count;
    };
    if (plan_.direct_a) {
      for (int64_t p = item.p0; p < item.p1; ++p)
        for (int64_t q = item.q0; q < item.q1; ++q) tile(item, block, p, q, nullptr, b(q));
    } else if (plan_.direct_b) {
      multiply_columns_in_place(item, block);
    } else if (plan_.rows_inside) {
      for (int64_t q = item.q0; q < item.q1; ++q) {
        const uint32_t* next = q + 1 < item.q1 ? b(q + 1) : nullptr;
        for (int64_t p = item.p0; p < item.p1; ++p) {
          prefetch_part(next, columns_.width(q) * count, p - item.p0, item.p1 - item.p0);
          prefetch_rows_ahead(item, block, p, q);
          tile(item, block, p, q, a(p), b(q));
        }
      }
    } else {
      for (int64_t p = item.p0; p < item.p1; ++p) {
        const uint32_t* next = plan_.share_a && p + 1 < item.p1 ? a(p + 1) : nullptr;
        for (int64_t q = item.q0; q < item.q1; ++q) {
          prefetch_part(next, rows_.width(p) * count, q - item.q0, item.q1 - item.q0);
          prefetch_columns_ahead(item, block, p, q);
          tile(item, block, p, q, a(p), b(q));
        }
      }
    }
  }

  // Rows of B come from memory once, in runs as wide as the item: all tiles take a few steps of k,
  // then all take the next ones, and keep their sums meanwhile.
  void multiply_columns_in_place(const Item& item, int64_t block) const {
    const DenseOperand& dense = g_.b.dense;
    const int64_t width = item.q1 - item.q0, tiles = (item.p1 - item.p0) * width;
    const int64_t row_bytes = columns_.padded(item.q0, item.q1) * item_bytes(dense);
    const int64_t values = g_.k / step_count(g_.compute, g_.k), count = steps(block);
    const int64_t part = clamp_of(kPrivateBytes / 8 / (row_bytes * values), kFewestSteps, count);
    float* const sums = scratch<float>(kPrivate, tiles * kTileRows * kTileColumns);
    for (int64_t step = 0; step < count; step += part) {
      const bool last = step + part >= count;
      const int64_t k0 = plan_.blocks.first(block) + step * values,
                    next = min_of(part * values, g_.k - k0 - part * values);
      float* so_far = sums;
      int64_t done = 0;
      for (int64_t q = item.q0; q < item.q1; ++q) {
        for (int64_t p = item.p0; p < item.p1; ++p, ++done) {
          if (next > 0) {
            prefetch_dense(dense, columns_.origin + columns_.start(item.q0),
                           columns_.lanes(item.q0, item.q1), k0 + part * values, next, done, tiles);
          }
          const uint32_t* a = a_.panel(rows_, p, block, count) + step * rows_.width(p);
          ColumnsPart columns{step, min_of(part, count - step), step == 0 ? nullptr : so_far};
          if (last) {
            tile(item, block, p, q, a, nullptr, &columns);
          } else {
            multiply_part(block, columns, rows_.width(p), columns_.origin + columns_.start(q),
                          columns_.width(q) == kLanes, a, so_far, kTileColumns, TileStore::kFloats);
          }
          so_far += kTileRows * kTileColumns;
        }
      }
    }
  }

  // Steps of a block that a tile takes from columns of B in place, and its sums before them.
  struct ColumnsPart {
    int64_t first, count;
    const float* before;
  };
  void multiply_part(int64_t block, const ColumnsPart& part, int64_t rows, int64_t column,
                     bool narrow, const uint32_t* a, void* c, int64_t c_stride,
                     TileStore store) const {
    const DenseOperand& dense = g_.b.dense;
    const int64_t values = g_.k / step_count(g_.compute, g_.k);
    const int64_t k0 = plan_.blocks.first(block) + part.first * values;
    const char* b = static_cast<const char*>(dense.data) +
                    (column * dense.lane_stride + k0 * dense.k_stride) * item_bytes(dense);
    columns_kernel(g_.compute, rows, narrow)(part.count, a, b, dense.k_stride * item_bytes(dense),
                                             part.before, c, c_stride, store);
  }

  // What this thread packs for itself next, a part with each tile: the item's next block or, behind
  // the last one, the panels that it most likely takes then.
  void prefetch_next_pack(const Panels& panels, const GemmSource& source, int64_t begin,
                          int64_t end, int64_t block, int64_t part, int64_t parts) const {
    if (source.pack != nullptr) return;
    const bool more = block + 1 < end_block_;
    const int64_t next = more ? block + 1 : first_block_, first = more ? begin : end;
    const int64_t last = min_of(first + end - begin, panels.count);
    const int64_t k0 = plan_.blocks.first(next),
                  kc = min_of(plan_.blocks.length(next), g_.k - source.tail_k - k0);
    if (first == last || kc <= 0) return;
    prefetch_dense(source.dense, panels.origin + panels.start(first), panels.lanes(first, last), k0,
                   kc, part, parts);
  }
  void prefetch_rows_ahead(const Item& item, int64_t block, int64_t p, int64_t q) const {
    if (plan_.share_a) return;
    const int64_t height = item.p1 - item.p0, width = item.q1 - item.q0;
    prefetch_next_pack(rows_, g_.a, item.p0, item.p1, block, (q - item.q0) * height + p - item.p0,
                       width * height);
  }
  void prefetch_columns_ahead(const Item& item, int64_t block, int64_t p, int64_t q) const {
    const int64_t height = item.p1 - item.p0, width = item.q1 - item.q0;
    const int64_t part = (p - item.p0) * width + q - item.q0, parts = width * height;
    if (g_.b.prepacked != nullptr) {
      // Behind the last block come the columns that this thread most likely takes next.
      const bool more = block + 1 < end_block_;
      const int64_t next = more ? block + 1 : first_block_, first = more ? item.q0 : item.q1;
      if (first == columns_.count) return;
      prefetch_part(b_.panel(columns_, first, next, steps(next)),
                    columns_.padded(item.q0, item.q1) * steps(next), part, parts);
    } else if (!plan_.share_b) {
      prefetch_next_pack(columns_, g_.b, item.q0, item.q1, block, part, parts);
    }
  }

  // The next panel of a shared operand lies in memory, or in the last-level cache: each of the
  // `parts` tiles before it asks for a part.
  static void prefetch_part(const uint32_t* panel, int64_t words, int64_t part, int64_t parts) {
    if (panel == nullptr) return;
    constexpr int64_t kLineWords = 64 / 4;
    const int64_t length = divide_up(divide_up(words, kLineWords), parts) * kLineWords;
    const int64_t end = min_of(words, (part + 1) * length);
    for (int64_t word = part * length; word < end; word += kLineWords)
      prefetch_second_level(panel + word);
  }

  void tile(const Item& item, int64_t block, int64_t p, int64_t q, const uint32_t* a,
            const uint32_t* b, const ColumnsPart* part = nullptr) const {
    TilePlace place;
    place.row = rows_.origin + rows_.start(p);
    place.rows = rows_.width(p);
    place.column = columns_.origin + columns_.start(q);
    place.columns = columns_.lanes(q);
    place.sums_stride = item.sums_stride;
    place.sums = item.sums == nullptr
                     ? nullptr
                     : item.sums + (rows_.start(p) - item.sums_row) * item.sums_stride +
                           columns_.start(q) - item.sums_column;
    place.first = block == 0;
    place.last = block == plan_.blocks.count - 1;
    const bool narrow = columns_.width(q) == kLanes;

    // The micro-kernel writes to C or to the running sums itself where nothing but an addition or a
    // rounding is asked for.
    const bool to_c = sums_in_c(), whole = place.columns == columns_.width(q);
    const bool adds_only = g_.alpha == 1 && (!place.first || g_.bias == nullptr);
    if (to_c && whole && adds_only && (!place.first || g_.beta == 0 || g_.beta == 1)) {
      float* c = static_cast<float*>(g_.c.data) + place.row * g_.c.row_stride + place.column;
      const bool adds = !place.first || g_.beta == 1;
      product(block, place, narrow, a, b, part, c, g_.c.row_stride,
              adds ? TileStore::kAddToFloats : TileStore::kFloats);
    } else if (!to_c && !place.last && adds_only && (!place.first || g_.beta == 0)) {
      product(block, place, narrow, a, b, part, place.sums, place.sums_stride,
              place.first ? TileStore::kFloats : TileStore::kAddToFloats);
    } else if (place.first && place.last && whole && adds_only && g_.beta == 0 &&
               g_.c.store == nullptr && g_.c.dtype == DType::kBFloat16 && g_.c.column_stride == 1) {
      uint16_t* c = static_cast<uint16_t*>(g_.c.data) + place.row * g_.c.row_stride + place.column;
      product(block, place, narrow, a, b, part, c, g_.c.row_stride, TileStore::kBf16);
    } else {
      alignas(64) float values[kTileRows * kTileColumns];
      if (place.last && g_.c.store == nullptr && g_.c.column_stride == 1) prefetch_c(place);
      product(block, place, narrow, a, b, part, values, kTileColumns, TileStore::kFloats);
      finish_tile(g_, place, values);
    }
  }

  // The lines of C are asked for before the product and written after it.
  void prefetch_c(const TilePlace& place) const {
    const int64_t item = static_cast<int64_t>(item_size(g_.c.dtype));
    const char* c =
        static_cast<const char*>(g_.c.data) + (place.row * g_.c.row_stride + place.column) * item;
    for (int64_t i = 0; i < place.rows; ++i, c += g_.c.row_stride * item) {
      prefetch(c);
      prefetch(c + place.columns * item - 1);
    }
  }

  void product(int64_t block, const TilePlace& place, bool narrow, const uint32_t* a,
               const uint32_t* b, const ColumnsPart* part, void* c, int64_t c_stride,
               TileStore store) const {
    if (part != nullptr) {
      multiply_part(block, *part, place.rows, place.column, narrow, a, c, c_stride, store);
    } else if (plan_.direct_a) {
      const DenseOperand& dense = g_.a.dense;
      const int64_t offset = place.row * dense.lane_stride + plan_.blocks.first(block);
      direct_kernel(g_.compute, place.rows, narrow)(
          steps(block), static_cast<const char*>(dense.data) + offset * item_bytes(dense),
          dense.lane_stride * item_bytes(dense), b, c, c_stride, store);
    } else {
      tile_kernel(g_.compute, place.rows, narrow)(steps(block), a, b, c, c_stride, store);
    }
  }
  static int64_t item_bytes(const DenseOperand& dense) {
    return static_cast<int64_t>(item_size(dense.dtype));
  }

  const GemmArguments& g_;
  const Plan& plan_;
  const Panels &rows_, &columns_;
  const int64_t first_block_, end_block_;
  float* const sums_;
  Packed a_{}, b_{};
};

// k = 0: sums of nothing.
void store_without_product(const GemmArguments& g) {
  for (int64_t i = 0; i < g.m; i += kTileRows) {
    for (int64_t j = 0; j < g.n; j += kTileColumns) {
      alignas(64) float zeros[kTileRows * kTileColumns] = {};
      finish_tile(
          g,
          {i, min_of(kTileRows, g.m - i), j, min_of(kTileColumns, g.n - j), nullptr, 0, true, true},
          zeros);
    }
  }
}

// Few columns and an A whose rows are contiguous across k (the gradient of a low-rank factor):
// packing A in panels of few lanes would cost as much as the product. As C^T = B^T * A^T, A is read
// and packed in wide runs. The sums are the same.
bool better_transposed(const GemmArguments& g) {
  constexpr int64_t kFewColumns = 2 * kTileColumns, kLongK = 256;
  const DenseOperand& a = g.a.dense;
  return g.n <= kFewColumns && g.m > g.n && g.k >= kLongK && g.a.pack == nullptr &&
         a.k_stride != 1 && a.lane_stride == 1 && a.lane_index == nullptr &&
         g.b.prepacked == nullptr && g.c.store == nullptr && g.bias == nullptr;
}

GemmArguments transposed(const GemmArguments& g) {
  GemmArguments t = g;
  t.m = g.n;
  t.n = g.m;
  t.a = g.b;
  t.b = g.a;
  t.c.row_stride = g.c.column_stride;
  t.c.column_stride = g.c.row_stride;
  return t;
}

}  // namespace

void gemm(const GemmArguments& asked) {
  if (asked.m <= 0 || asked.n <= 0) return;
  if (asked.k > 0 && has_few_rows(asked)) return multiply_few_rows(asked);
  const GemmArguments g = better_transposed(asked) ? transposed(asked) : asked;
  if (g.b.prepacked != nullptr) check_prepacked(g.b.prepacked, g.compute, g.n, g.k);
  if (g.k <= 0) return store_without_product(g);
  const Plan plan = make_plan(g, usable_threads());
  const bool keeps_sums =
      plan.blocks.count > plan.blocks_at_once &&
      (g.c.store != nullptr || g.c.dtype != DType::kFloat32 || g.c.column_stride != 1);
  for (int64_t j = 0; j < g.n; j += plan.chunk_columns) {
    const Panels columns = column_panels(j, min_of(plan.chunk_columns, g.n - j));
    for (int64_t i = 0; i < g.m; i += plan.chunk_rows) {
      const Panels rows = row_panels(i, min_of(plan.chunk_rows, g.m - i), plan.height);
      float* sums =
          keeps_sums ? scratch<float>(kSharedSums, rows.extent * columns.padded(0, columns.count))
                     : nullptr;
      for (int64_t block = 0; block < plan.blocks.count; block += plan.blocks_at_once) {
        const int64_t end = min_of(block + plan.blocks_at_once, plan.blocks.count);
        Chunk(g, plan, rows, columns, block, end, sums).run();
      }
    }
  }
}

}  // namespace fms_accel::FMS_ACCEL_ISA
