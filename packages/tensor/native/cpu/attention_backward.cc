// Attention backward: scores and weights are computed again from q, k and the saved log-sum-exp
// (Dao et al., "FlashAttention", 2022, section 3.1), for a block of query rows and a chunk of keys
// at a time, so that weights and slopes never leave the second-level cache. The gradients of keys
// and values add up over all query heads of a group.
#include "cpu/attention_rows.h"
#include "cpu/kernel_sources.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

// Panels of query rows in a block: long sums for the gradients of keys.
constexpr int64_t kPanels = kTileColumns >= 32 ? 3 : 96 / kTileColumns;
constexpr int64_t kRowsOfBlock = kPanels * kTileColumns;
constexpr int64_t kKeysOfChunk = 256 / kTileRows * kTileRows;
static_assert(kTileRows % 2 == 0 && kTileColumns % 2 == 0, "parts begin with whole steps");

struct Steps {
  int64_t head, value, keys, rows, chunk;  // of a head of q and k, of v; all keys, a block, a chunk
};

struct BackwardScratch {
  Compute compute;
  int values_of_step;
  Steps steps;
  int64_t head_dim, value_dim;  // padded to whole panels
  // Of all keys: operands of the products for scores, weights' gradients and the gradient of q; the
  // gradients [keys][padded dim].
  uint32_t *keys_across, *values_across, *keys_along;
  float *dk, *dv;
  // Of a block of rows.
  uint32_t *q_across, *g_across, *q_along, *g_along;
  float *dq, *lse, *delta;
  // Of a block and a chunk: weights and slopes as rows of keys, the slopes as panels too.
  uint32_t *weights, *slopes, *slope_panels;
  // Of a tile.
  float *tile_weights, *tile_slopes;
  float* rows;

  BackwardScratch(Scratch& scratch, const AttentionArguments& p)
      : compute(p.compute_bfloat16 ? Compute::kBFloat16 : Compute::kFloat32),
        values_of_step(static_cast<int>(64 / step_count(compute, 64))),
        steps{step_count(compute, p.head_dim), step_count(compute, p.value_dim),
              step_count(compute, p.keys), kRowsOfBlock / values_of_step,
              kKeysOfChunk / values_of_step},
        head_dim(round_up_to(p.head_dim, kTileColumns)),
        value_dim(round_up_to(p.value_dim, kTileColumns)) {
    const int64_t padded_keys = round_up_to(p.keys, kTileRows);
    keys_across = scratch.take<uint32_t>(padded_keys * steps.head + kLanes);
    values_across = scratch.take<uint32_t>(padded_keys * steps.value + kLanes);
    keys_along = scratch.take<uint32_t>(p.head_dim * steps.keys + kLanes);
    dk = scratch.take<float>(p.keys * head_dim);
    dv = scratch.take<float>(p.keys * value_dim);
    q_across = scratch.take<uint32_t>(kRowsOfBlock * steps.head);
    g_across = scratch.take<uint32_t>(kRowsOfBlock * steps.value);
    q_along = scratch.take<uint32_t>(round_up_to(p.head_dim, kTileColumns) * steps.rows);
    g_along = scratch.take<uint32_t>(round_up_to(p.value_dim, kTileColumns) * steps.rows);
    dq = scratch.take<float>(kPanels * head_dim * kTileColumns);
    lse = scratch.take<float>(kRowsOfBlock);
    delta = scratch.take<float>(kRowsOfBlock);
    weights = scratch.take<uint32_t>(kKeysOfChunk * steps.rows);
    slopes = scratch.take<uint32_t>(kKeysOfChunk * steps.rows);
    slope_panels = scratch.take<uint32_t>(kPanels * steps.chunk * kTileColumns);
    tile_weights = scratch.take<float>(kTileRows * kTileColumns);
    tile_slopes = scratch.take<float>(kTileRows * kTileColumns);
    rows = scratch.take<float>(kTileColumns * head_dim);
  }
};

float dot(const float* a, const float* b, int64_t count) {
  constexpr int kSums = 16;
  float sums[kSums] = {};
  int64_t j = 0;
  for (; j + kSums <= count; j += kSums) {
    for (int l = 0; l < kSums; ++l) sums[l] += a[j + l] * b[j + l];
  }
  float sum = 0;
  for (; j < count; ++j) sum += a[j] * b[j];
  for (const float part : sums) sum += part;
  return sum;
}

void widen_row(const void* from, DType dtype, int64_t count, float* to) {
  with_floating_element(dtype, [&](auto element) {
    using Element = decltype(element);
    const auto* stored = static_cast<const typename Element::Storage*>(from);
    for (int64_t j = 0; j < count; ++j) to[j] = Element::template load<float>(stored[j]);
  });
}

// In place of scores s and of the gradient d of the weights, [count][kTileColumns]: the weights and
// the gradient of q · k. A key of weight 0 has slope 0 whatever d is.
template <bool HasCap>
void softmax_gradient(const AttentionArguments& p, int64_t count, const float* __restrict lse,
                      const float* __restrict delta, float* __restrict s, float* __restrict d) {
  const float factor = factor_of_scores(p), scale = p.scale, inverse_cap = 1.0f / p.soft_cap;
  for (int64_t j = 0; j < count; ++j, s += kTileColumns, d += kTileColumns) {
    for (int l = 0; l < kTileColumns; ++l) {
      const float weight = exp_of_nonpositive(factor * s[l] - lse[l]);
      float slope = weight * (d[l] - delta[l]) * scale;
      if constexpr (HasCap) {
        const float capped = s[l] * inverse_cap;
        slope *= 1.0f - capped * capped;
      }
      d[l] = weight == 0 ? 0.0f : slope;
      s[l] = weight;
    }
  }
}

// A row of a panel's lanes as steps of a product whose k they are.
void store_lanes(Compute compute, const float* from, uint32_t* to) {
  with_step(compute, [&](auto step) {
    using Step = decltype(step);
    constexpr int kFloats = kLanes * Step::kValues;
    static_assert(kTileColumns % kFloats == 0);
    for (int l = 0; l < kTileColumns; l += kFloats, to += kLanes)
      store_words(to, Step::load(from + l));
  });
}

// One (batch, key-value head).
class Backward {
 public:
  Backward(const QueryRows& rows, const BackwardScratch& scratch)
      : rows_(rows),
        p_(rows.p),
        s_(scratch),
        key_panels_(row_panels(0, p_.keys, kTileRows)),
        head_panels_(dimension_panels(p_.head_dim)) {}

  void run() {
    const int64_t last = key_panels_.last;
    pack_panels(s_.compute, rows_.key_lanes(p_.k, 0), p_.keys, kTileRows, last, p_.head_dim,
                s_.keys_across);
    pack_panels(s_.compute, rows_.key_lanes(p_.v, 0), p_.keys, kTileRows, last, p_.value_dim,
                s_.values_across);
    pack_panels(s_.compute, along(rows_.key_lanes(p_.k, 0)), p_.head_dim, head_panels_.full,
                head_panels_.last, p_.keys, s_.keys_along);
    for (int64_t i = 0; i < p_.keys * s_.head_dim; ++i) s_.dk[i] = 0;
    for (int64_t i = 0; i < p_.keys * s_.value_dim; ++i) s_.dv[i] = 0;
    for (int64_t first = 0; first < rows_.count; first += kRowsOfBlock)
      block(first, min_of(kRowsOfBlock, rows_.count - first));
    for (int64_t j = 0; j < p_.keys; ++j) {
      narrow_row(s_.dk + j * s_.head_dim, p_.head_dim, 1,
                 at(p_.k_gradient, rows_.batch, rows_.kv_head, j), p_.k_gradient.dtype);
      narrow_row(s_.dv + j * s_.value_dim, p_.value_dim, 1,
                 at(p_.v_gradient, rows_.batch, rows_.kv_head, j), p_.v_gradient.dtype);
    }
  }

 private:
  // A panel's part of a chunk: whole panels of keys.
  struct Part {
    int64_t begin, end;  // panels of keys
  };

  void block(int64_t first, int64_t number) {
    pack_rows(first, number);
    const int64_t panels = divide_up(number, kTileColumns);
    const KeyRange keys = rows_.keys_of(first, first + number);
    for (int64_t chunk = keys.begin / kKeysOfChunk * kKeysOfChunk; chunk < keys.end;
         chunk += kKeysOfChunk)
      block_and_chunk(first, number, panels, chunk);
    for (int64_t panel = 0; panel < panels; ++panel) {
      transpose_panel(s_.dq + panel * s_.head_dim * kTileColumns, p_.head_dim, s_.rows,
                      s_.head_dim);
      const int64_t row = panel * kTileColumns;
      for (int64_t r = 0; r < min_of(kTileColumns, number - row); ++r)
        narrow_row(s_.rows + r * s_.head_dim, p_.head_dim, 1,
                   rows_.row_of(p_.q_gradient, first + row + r), p_.q_gradient.dtype);
    }
  }

  void pack_rows(int64_t first, int64_t number) {
    int32_t query_index[kRowsOfBlock], gradient_index[kRowsOfBlock];
    const DenseOperand q = rows_.lanes(p_.q, p_.head_dim, first, number, query_index),
                       g = rows_.lanes(p_.out_gradient, p_.value_dim, first, number,
                                       gradient_index);
    pack_panels(s_.compute, q, number, kTileColumns, kTileColumns, p_.head_dim, s_.q_across);
    pack_panels(s_.compute, g, number, kTileColumns, kTileColumns, p_.value_dim, s_.g_across);
    const auto pack_along = [&](const DenseOperand& operand, int64_t dim, uint32_t* to) {
      pack_panels(s_.compute, along(operand), dim, kTileColumns, column_panels(0, dim).last, number,
                  to);
    };
    pack_along(q, p_.head_dim, s_.q_along);
    pack_along(g, p_.value_dim, s_.g_along);
    float gradient[kMostWidened], out[kMostWidened];
    for (int64_t r = 0; r < kRowsOfBlock; ++r) {
      s_.lse[r] = kInfinity;  // lanes behind the last row: no weight, no slope
      s_.delta[r] = 0;
      if (r >= number) continue;
      s_.lse[r] = p_.lse[rows_.statistics_index(first + r)];
      const void *g_row = rows_.row_of(p_.out_gradient, first + r),
                 *out_row = rows_.row_of(p_.out, first + r);
      for (int64_t d = 0; d < p_.value_dim; d += kMostWidened) {
        const int64_t count = min_of(kMostWidened, p_.value_dim - d);
        widen_row(offset(g_row, p_.out_gradient.dtype, d), p_.out_gradient.dtype, count, gradient);
        widen_row(offset(out_row, p_.out.dtype, d), p_.out.dtype, count, out);
        s_.delta[r] += dot(gradient, out, count);
      }
    }
    for (int64_t i = 0; i < kPanels * s_.head_dim * kTileColumns; ++i) s_.dq[i] = 0;
  }

  static constexpr int64_t kMostWidened = 256;
  static const void* offset(const void* row, DType dtype, int64_t elements) {
    return static_cast<const char*>(row) + elements * static_cast<int64_t>(item_size(dtype));
  }

  void block_and_chunk(int64_t first, int64_t number, int64_t panels, int64_t chunk) {
    const int64_t chunk_end = min_of(chunk + kKeysOfChunk, p_.keys);
    Part parts[kPanels], all{INT64_MAX, 0};
    for (int64_t panel = 0; panel < panels; ++panel) {
      const int64_t row = panel * kTileColumns;
      const PanelMask mask(rows_, first + row, min_of(kTileColumns, number - row));
      Part& part = parts[panel];
      part = {clamp_of(mask.any.begin, chunk, chunk_end) / kTileRows,
              divide_up(clamp_of(mask.any.end, chunk, chunk_end), kTileRows)};
      if (mask.any.begin >= chunk_end || mask.any.end <= chunk) part = {0, 0};
      for (int64_t key = part.begin; key < part.end; ++key) tile(mask, panel, key, chunk);
      if (part.begin < part.end) {
        add_to_dq(panel, part, chunk);
        all = {min_of(all.begin, part.begin), max_of(all.end, part.end)};
      }
    }
    if (all.begin < all.end) add_to_dk_and_dv(number, panels, parts, all, chunk);
  }

  // Weights and slopes of one panel of rows and one of keys.
  void tile(const PanelMask& mask, int64_t panel, int64_t key_panel, int64_t chunk) {
    const int64_t first = key_panels_.start(key_panel), count = key_panels_.width(key_panel),
                  row = panel * kTileColumns;
    const TileKernel product = tile_kernel(s_.compute, count, false);
    product(s_.steps.head, s_.keys_across + first * s_.steps.head,
            s_.q_across + row * s_.steps.head, s_.tile_weights, kTileColumns, TileStore::kFloats);
    product(s_.steps.value, s_.values_across + first * s_.steps.value,
            s_.g_across + row * s_.steps.value, s_.tile_slopes, kTileColumns, TileStore::kFloats);
    scale_and_cap(p_, count * kTileColumns, s_.tile_weights);
    mask.hide(first, count, s_.tile_weights);
    const auto gradient = p_.soft_cap > 0 ? softmax_gradient<true> : softmax_gradient<false>;
    gradient(p_, count, s_.lse + row, s_.delta + row, s_.tile_weights, s_.tile_slopes);
    const int64_t at = first - chunk, lanes = row / s_.values_of_step;
    for (int64_t j = 0; j < count; ++j) {
      store_lanes(s_.compute, s_.tile_weights + j * kTileColumns,
                  s_.weights + (at + j) * s_.steps.rows + lanes);
      store_lanes(s_.compute, s_.tile_slopes + j * kTileColumns,
                  s_.slopes + (at + j) * s_.steps.rows + lanes);
    }
    pack_columns(
        s_.compute, s_.tile_slopes, count,
        s_.slope_panels + (panel * s_.steps.chunk + at / s_.values_of_step) * kTileColumns);
  }

  int64_t end_key(int64_t key_panel) const { return min_of(p_.keys, key_panels_.start(key_panel)); }

  void add_to_dq(int64_t panel, const Part& part, int64_t chunk) {
    const int64_t begin = key_panels_.start(part.begin), end = end_key(part.end);
    const int64_t first_step = begin / s_.values_of_step;
    for (int64_t d = 0; d < head_panels_.count; ++d) {
      const int64_t width = head_panels_.width(d), start = head_panels_.start(d);
      tile_kernel(s_.compute, width, false)(
          step_count(s_.compute, end - begin),
          s_.keys_along + start * s_.steps.keys + first_step * width,
          s_.slope_panels +
              (panel * s_.steps.chunk + (begin - chunk) / s_.values_of_step) * kTileColumns,
          s_.dq + (panel * s_.head_dim + start) * kTileColumns, kTileColumns,
          TileStore::kAddToFloats);
    }
  }

  // For some keys at a time, over the panels of rows that see them.
  void add_to_dk_and_dv(int64_t number, int64_t panels, const Part* parts, const Part& all,
                        int64_t chunk) {
    const int64_t end = end_key(all.end);
    for (int64_t key = key_panels_.start(all.begin); key < end;) {
      const int64_t key_panel = key / kTileRows,
                    count = min_of(kDirectRows, min_of(end, (key_panel + 1) * kTileRows) - key);
      const auto sees = [&](int64_t panel) {
        return key_panel >= parts[panel].begin && key_panel < parts[panel].end;
      };
      // The panels that see a key are neighbours.
      int64_t first = 0, last = panels;
      while (first < last && !sees(first)) ++first;
      while (last > first && !sees(last - 1)) --last;
      if (first < last) {
        const int64_t row = first * kTileColumns;
        const Lanes lanes{key, count, row / s_.values_of_step,
                          step_count(s_.compute, min_of(number, last * kTileColumns) - row)};
        const int64_t rows_steps = step_count(s_.compute, number);
        add(lanes, s_.weights, chunk, s_.g_along, rows_steps, p_.value_dim, s_.value_dim, s_.dv);
        add(lanes, s_.slopes, chunk, s_.q_along, rows_steps, p_.head_dim, s_.head_dim, s_.dk);
      }
      key += count;
    }
  }

  struct Lanes {
    int64_t key, count, first_step, steps;
  };
  // sums[key][dim] += the product of rows of weights, or slopes, with what is packed along the
  // block's rows (`packed_steps` of them).
  void add(const Lanes& lanes, const uint32_t* rows, int64_t chunk, const uint32_t* packed,
           int64_t packed_steps, int64_t dim, int64_t padded_dim, float* sums) {
    const Panels columns = column_panels(0, dim);
    const int64_t row_bytes = s_.steps.rows * 4;
    const char* from = reinterpret_cast<const char*>(rows) + (lanes.key - chunk) * row_bytes +
                       lanes.first_step * 4;
    for (int64_t c = 0; c < columns.count; ++c) {
      const int64_t width = columns.width(c), start = columns.start(c);
      direct_kernel(s_.compute, lanes.count, width == kLanes)(
          lanes.steps, from, row_bytes, packed + start * packed_steps + lanes.first_step * width,
          sums + lanes.key * padded_dim + start, padded_dim, TileStore::kAddToFloats);
    }
  }

  const QueryRows& rows_;
  const AttentionArguments& p_;
  const BackwardScratch& s_;
  const Panels key_panels_, head_panels_;
};

}  // namespace

void attention_backward(const AttentionArguments& p) {
  Scratch counter(nullptr);
  [[maybe_unused]] const BackwardScratch counted(counter, p);
  parallel_for(p.batch * p.kv_heads, [&](int64_t item, int thread) {
    Scratch scratch(workspace(thread, 0, counter.bytes()));
    const BackwardScratch parts(scratch, p);
    const QueryRows rows(p, item / p.kv_heads, item % p.kv_heads);
    Backward(rows, parts).run();
  });
}

}  // namespace fms_accel::FMS_ACCEL_ISA
