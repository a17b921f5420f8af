// The part of backward that is done tile by tile: weights and the gradient of the scores.
#pragma once
#include "cpu/pack.h"
#include "cpu/tile.h"

namespace fms_accel::FMS_ACCEL_ISA {

constexpr int64_t least_common_multiple(int64_t a, int64_t b) {
  int64_t multiple = a;
  while (multiple % b != 0) multiple += a;
  return multiple;
}

// Query rows of a block: whole panels of rows and of columns.
constexpr int64_t kRowBlock = round_up(224, least_common_multiple(kTileRows, kTileColumns));
// Keys of a block: whole panels of an even number of keys.
constexpr int64_t kKeyGranularity = 2 * kTileRows;
constexpr int64_t kBlockKeys = round_up(112, kKeyGranularity);
// Rows of a strip lie apart, so that they do not fall into one set of the cache.
constexpr int64_t kStrip = kRowBlock + 16;

struct BackwardScratch {
  int64_t units, columns, keys;  // keys of the chunk, padded
  int64_t key_panel, row_panel;  // floats between the panels of k_along; of q_along and g_along
  // The chunk: operands, and the gradients of its keys [keys][columns].
  float *k_across, *v_across, *k_along, *dk, *dv;
  // A block of query rows: operands, its part of dq [kRowBlock][columns], its statistics.
  float *q_across, *g_across, *q_along, *g_along, *dq, *lse2, *delta;
  // Of kTileRows keys: weights and score gradients, transposed, as rows of the products for dv and
  // dk; and one tile of dP.
  float *weights, *slopes, *dp;
  // Score gradients of a block of keys as units of keys, [unit][kRowBlock]: columns of the product
  // for dq. Where a unit is one key, they serve dk too.
  float* slope_block;

  BackwardScratch(Scratch& scratch, int64_t dim, int64_t chunk_keys, int pair)
      : units((dim + pair - 1) / pair),
        columns(round_up(dim, kLanes)),
        keys(round_up(chunk_keys, kKeyGranularity)),
        key_panel(keys / pair * kTileColumns),
        row_panel(kRowBlock / pair * kTileColumns) {
    const int64_t panels = round_up(dim, kTileColumns) / kTileColumns;
    k_across = scratch.take(keys * units + kLanes);
    v_across = scratch.take(keys * units + kLanes);
    k_along = scratch.take(panels * key_panel);
    dk = scratch.take(keys * columns);
    dv = scratch.take(keys * columns);
    q_across = scratch.take(kRowBlock * units);
    g_across = scratch.take(kRowBlock * units);
    q_along = scratch.take(panels * row_panel);
    g_along = scratch.take(panels * row_panel);
    dq = scratch.take(kRowBlock * columns);
    lse2 = scratch.take(kRowBlock);
    delta = scratch.take(kRowBlock);
    weights = scratch.take(kTileRows * kStrip);
    slopes = scratch.take(kTileRows * kStrip);
    dp = scratch.take(kTileRows * kTileColumns);
    slope_block = scratch.take(kBlockKeys * kRowBlock);
  }
};

// kTileRows keys from `key` on against kTileColumns query rows from row0 + t on: the tile of dP =
// V dOut^T, then that of K Q^T and from it the weights P and dS = P * (dP - delta), which leave in
// the layouts of the three other products. Scores are never in memory.
template <class Step, bool HasCap, bool IsBorder>
void backward_tile(const SequenceHead& head, const Score& score, const BackwardScratch& s,
                   const float* k, const float* v, int64_t key, float* slope_block, int64_t row0,
                   int64_t t) {
  tile<Step, 2, 1, kTileRows>(s.units, v, s.g_across + t * s.units, [&](int i, int h, Floats x) {
    store_floats(s.dp + i * kTileColumns + h * kLanes, x);
  });
  Floats sums[kTileRows][2];
  multiply<Step, 2, 1, kTileRows>(s.units, k, s.q_across + t * s.units, sums);
  const Floats scale = broadcast(score.scale2);
  FMS_ACCEL_UNROLL
  for (int pair = 0; pair < kTileRows; pair += 2) {
    Floats slopes[2][2];
    FMS_ACCEL_UNROLL
    for (int i = pair; i < pair + 2; ++i) {
      Floats weights[2];
      FMS_ACCEL_UNROLL
      for (int h = 0; h < 2; ++h) {
        const Floats lse2 = load_floats(s.lse2 + t + h * kLanes);
        Floats slope = load_floats(s.dp + i * kTileColumns + h * kLanes) -
                       load_floats(s.delta + t + h * kLanes);
        if constexpr (HasCap) {
          const Floats u = score.tanh(sums[i][h]);
          weights[h] = weight_of<Step>(u * broadcast(score.cap2) - lse2);
          slope = slope - slope * u * u;
        } else {
          weights[h] = weight_of<Step>(fused_multiply_add(sums[i][h], scale, broadcast(0) - lse2));
        }
        if constexpr (IsBorder) {
          const Band band = head.rows_of(key + i);
          const int64_t first = row0 + t + h * kLanes;
          weights[h] = keep_lanes(weights[h], band.low - first, band.high - first, broadcast(0));
          slope = keep_lanes(slope, band.low - first, band.high - first, broadcast(0));
        }
        slopes[i - pair][h] = weights[h] * slope;
      }
      Step::store(s.weights + i * kStrip + t / Step::kPair, weights[0], weights[1]);
      if constexpr (Step::kPair == 1)
        Step::store(slope_block + i * kRowBlock + t, slopes[i - pair][0], slopes[i - pair][1]);
    }
    if constexpr (Step::kPair == 2) {
      const Words even = Step::round(slopes[0][0], slopes[0][1]),
                  odd = Step::round(slopes[1][0], slopes[1][1]);
      store_words(s.slopes + pair * kStrip + t / 2, even);
      store_words(s.slopes + (pair + 1) * kStrip + t / 2, odd);
      Step::interleave(even, odd, slope_block + pair / 2 * kRowBlock + t);
    }
  }
}

}  // namespace fms_accel::FMS_ACCEL_ISA
