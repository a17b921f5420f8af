// Attention forward: for each panel of query rows, scores by one product, softmax down the columns,
// values by a second product that takes the weights where they lie. Keys and values are packed once
// for many panels.
#include "cpu/attention_rows.h"
#include "cpu/kernel_sources.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

// Rows that share packed keys and values, at least, where there are as many.
constexpr int64_t kRowsOfItem = 192;
// Keys of a part of the second product: its weights stay in the second-level cache for all
// dimensions.
constexpr int64_t kKeysOfPart = 1024;
static_assert(kTileRows % 2 == 0, "parts of keys begin with whole steps");

struct ForwardScratch {
  int64_t dim_steps, key_steps, padded_dim;  // steps of a head and of the keys; value dimensions
  uint32_t *keys, *values, *queries;
  float *scores, *sums, *rows;

  ForwardScratch(Scratch& scratch, const AttentionArguments& p, int64_t keys_count)
      : dim_steps(step_count(compute_of(p), p.head_dim)),
        key_steps(step_count(compute_of(p), keys_count)),
        padded_dim(round_up_to(p.value_dim, kLanes)) {
    keys = scratch.take<uint32_t>(round_up_to(keys_count, kTileRows) * dim_steps + kLanes);
    values = scratch.take<uint32_t>(p.value_dim * key_steps + kLanes);
    queries = scratch.take<uint32_t>(kTileColumns * dim_steps);
    scores = scratch.take<float>((round_up_to(keys_count, kTileRows) + 1) * kTileColumns);
    sums = scratch.take<float>(padded_dim * kTileColumns);
    rows = scratch.take<float>(padded_dim * kTileColumns);
  }
  static Compute compute_of(const AttentionArguments& p) {
    return p.compute_bfloat16 ? Compute::kBFloat16 : Compute::kFloat32;
  }
};

// Running sums side by side: key j belongs to sum j modulo this.
constexpr int kSums = 4;

// In place of scores [count][kTileColumns]: e^(factor * (score - largest of the column)), and the
// reciprocals of their sums as `scales` (0 for a column that sees no key), the logarithms as `lse`.
void softmax_columns(float factor, int64_t count, float* scores, float* scales, float* lse) {
  Floats largest_vectors[kTileVectors];
  FMS_ACCEL_UNROLL
  for (int v = 0; v < kTileVectors; ++v) largest_vectors[v] = broadcast(-kInfinity);
  for (int64_t j = 0; j < count; ++j) {
    FMS_ACCEL_UNROLL
    for (int v = 0; v < kTileVectors; ++v)
      largest_vectors[v] =
          maximum(load_floats(scores + j * kTileColumns + v * kLanes), largest_vectors[v]);
  }
  alignas(64) float largest[kTileColumns], shift[kTileColumns], sums[kSums][kTileColumns] = {};
  for (int v = 0; v < kTileVectors; ++v) store_floats(largest + v * kLanes, largest_vectors[v]);
  // Where nothing is seen, nothing is subtracted: -inf stays, and so does a NaN.
  for (int l = 0; l < kTileColumns; ++l) shift[l] = largest[l] == -kInfinity ? 0 : largest[l];
  for (int64_t j = 0; j < count; ++j) {
    float *row = scores + j * kTileColumns, *sum = sums[j % kSums];
    for (int l = 0; l < kTileColumns; ++l) {
      const float weight = exp_of_nonpositive(factor * (row[l] - shift[l]));
      row[l] = weight;
      sum[l] += weight;
    }
  }
  for (int l = 0; l < kTileColumns; ++l) {
    const float sum = (sums[0][l] + sums[1][l]) + (sums[2][l] + sums[3][l]);
    scales[l] = sum == 0 ? 0 : 1.0f / sum;
    lse[l] = sum == 0 ? kInfinity : factor * shift[l] + __builtin_logf(sum);
  }
}

// Rows [first, first + number) against the packed keys, the first of which is `first_key`.
void forward_panel(const QueryRows& rows, const ForwardScratch& s, const Panels& key_panels,
                   int64_t first_key, int64_t first, int64_t number) {
  const AttentionArguments& p = rows.p;
  const Compute compute = ForwardScratch::compute_of(p);
  const PanelMask mask(rows, first, number);
  const int64_t first_panel = (mask.any.begin - first_key) / kTileRows,
                end_panel = divide_up(mask.any.end - first_key, kTileRows),
                begin = first_key + first_panel * kTileRows,
                count = max_of(0, mask.any.end - begin);
  int32_t index[kTileColumns];
  pack_panels(compute, rows.lanes(p.q, p.head_dim, first, number, index), number, kTileColumns,
              kTileColumns, p.head_dim, s.queries);
  for (int64_t panel = first_panel; panel < end_panel; ++panel) {
    tile_kernel(compute, key_panels.width(panel), false)(
        s.dim_steps, s.keys + key_panels.start(panel) * s.dim_steps, s.queries,
        s.scores + (panel - first_panel) * kTileRows * kTileColumns, kTileColumns,
        TileStore::kFloats);
  }
  scale_and_cap(p, count * kTileColumns, s.scores);
  mask.hide(begin, count, s.scores);
  alignas(64) float scales[kTileColumns], lse[kTileColumns];
  softmax_columns(factor_of_scores(p), count, s.scores, scales, lse);

  auto* const weights = reinterpret_cast<uint32_t*>(s.scores);
  pack_columns(compute, s.scores, count, weights);
  const Panels dims = dimension_panels(p.value_dim);
  const int64_t values_of_step = divide_up(kKeysOfPart, step_count(compute, kKeysOfPart)),
                first_step = (begin - first_key) / values_of_step;
  if (count == 0)
    for (int64_t i = 0; i < s.padded_dim * kTileColumns; ++i) s.sums[i] = 0;
  for (int64_t part = 0; part < count; part += kKeysOfPart) {
    const int64_t step = part / values_of_step,
                  steps = step_count(compute, min_of(kKeysOfPart, count - part));
    for (int64_t panel = 0; panel < dims.count; ++panel) {
      const int64_t width = dims.width(panel);
      tile_kernel(compute, width, false)(
          steps, s.values + dims.start(panel) * s.key_steps + (first_step + step) * width,
          weights + step * kTileColumns, s.sums + dims.start(panel) * kTileColumns, kTileColumns,
          part == 0 ? TileStore::kFloats : TileStore::kAddToFloats);
    }
  }
  transpose_panel(s.sums, p.value_dim, s.rows, s.padded_dim);
  for (int64_t r = 0; r < number; ++r) {
    narrow_row(s.rows + r * s.padded_dim, p.value_dim, scales[r], rows.row_of(p.out, first + r),
               p.out.dtype);
    p.lse[rows.statistics_index(first + r)] = lse[r];
  }
}

// Rows [first, end) of one (batch, key-value head).
void forward_item(const QueryRows& rows, int64_t first, int64_t end, int thread) {
  const AttentionArguments& p = rows.p;
  const Compute compute = ForwardScratch::compute_of(p);
  KeyRange keys = rows.keys_of(first, end);
  keys.begin = keys.begin / kTileRows * kTileRows;
  const int64_t count = keys.end - keys.begin;
  Scratch counter(nullptr);
  [[maybe_unused]] const ForwardScratch counted(counter, p, count);
  Scratch scratch(workspace(thread, 0, counter.bytes()));
  const ForwardScratch s(scratch, p, count);
  const Panels key_panels = row_panels(0, max_of(1, count), kTileRows),
               dims = dimension_panels(p.value_dim);
  pack_panels(compute, rows.key_lanes(p.k, keys.begin), count, kTileRows,
              key_panels.width(key_panels.count - 1), p.head_dim, s.keys);
  pack_panels(compute, along(rows.key_lanes(p.v, keys.begin)), p.value_dim, dims.full, dims.last,
              count, s.values);
  for (int64_t row = first; row < end; row += kTileColumns)
    forward_panel(rows, s, key_panels, keys.begin, row, min_of(kTileColumns, end - row));
}

}  // namespace

void attention_forward(const AttentionArguments& p) {
  if (attention_has_few_rows(p)) return attention_forward_few_rows(p);
  const int64_t rows = p.queries * (p.heads / p.kv_heads), pairs = p.batch * p.kv_heads;
  // Every thread should have some items; each packs its keys.
  const int64_t pieces =
      clamp_of(divide_up(4 * usable_threads(), pairs), 1, divide_up(rows, kRowsOfItem));
  const int64_t piece = round_up_to(divide_up(rows, pieces), kTileColumns),
                count = divide_up(rows, piece);
  parallel_for(pairs * count, [&](int64_t item, int thread) {
    // The last rows see the most keys: they go first, so that threads end together.
    const int64_t pair = item % pairs, first = (count - 1 - item / pairs) * piece;
    const QueryRows query_rows(p, pair / p.kv_heads, pair % p.kv_heads);
    forward_item(query_rows, first, min_of(rows, first + piece), thread);
  });
}

}  // namespace fms_accel::FMS_ACCEL_ISA
