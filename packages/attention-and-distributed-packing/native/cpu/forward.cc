// Forward: for a panel of kTileRows query rows, scores against a block of keys by tiles, softmax
// against the running maxima, and the weights times the values added to what was summed so far
// (Dao, "FlashAttention-2", 2023, section 3.1). A strip of scores stays in the first-level cache,
// the packed block of keys and values in the second-level one.
#include "cpu/kernel_sources.h"
#include "cpu/pack.h"
#include "cpu/tile.h"

namespace fms_accel::FMS_ACCEL_ISA {

namespace {

constexpr int64_t kKeys = 512;  // of a block: a multiple of kTileColumns
// Rows of a strip lie apart, so that they do not fall into one set of the cache.
constexpr int64_t kStrip = kKeys + 16;

struct ForwardScratch {
  int64_t units, columns;
  float *q, *sums, *keys, *values, *scores, *weights, *peaks, *totals;

  ForwardScratch(Scratch& scratch, int64_t dim, int64_t rows, int pair)
      : units((dim + pair - 1) / pair), columns(round_up(dim, kLanes)) {
    const int64_t padded = round_up(rows, kTileRows), panels = padded / kTileRows;
    q = scratch.take(padded * units + kLanes);
    sums = scratch.take(padded * columns);
    keys = scratch.take(kKeys * units);
    values = scratch.take(kKeys / pair * round_up(dim, kTileColumns));
    scores = scratch.take(kTileRows * kStrip);
    weights = pair == 1 ? scores : scratch.take(kTileRows * kStrip);
    // A vector for each panel of rows.
    peaks = scratch.take(panels * kLanes);
    totals = scratch.take(panels * kLanes);
  }
};

// Softmax of a strip of rows of `count` products (a multiple of kTileColumns) against their running
// maxima; writes the weights as the rows of the next product. `shrink` gets the factors by which
// what was summed so far must shrink.
template <class Step, bool HasCap>
FMS_ACCEL_INLINE void softmax_strip(const Score& score, const float* dots, float* weights,
                                    int64_t count, float* peaks, float* totals, float* shrink) {
  const Floats scale = broadcast(score.scale2);
  Floats rows[kLanes];
  for (int i = 0; i < kLanes; ++i) rows[i] = broadcast(0);
  for (int i = 0; i < kTileRows; ++i) {
    const float* x = dots + i * kStrip;
    Floats low = load_floats(x), high = load_floats(x + kLanes);
    for (int64_t j = kTileColumns; j < count; j += kTileColumns) {
      low = maximum(low, load_floats(x + j));
      high = maximum(high, load_floats(x + j + kLanes));
    }
    rows[i] = maximum(low, high);
  }
  Floats peak = fold_rows(rows, [](Floats x, Floats y) { return maximum(x, y); });
  // The cap rises with its argument: the capped maximum is the maximum of what is capped.
  peak = HasCap ? score.capped(peak) : peak * scale;
  const Floats before = load_floats(peaks), now = maximum(peak, before);
  const Floats factor = exp2_of(before - now);
  store_floats(peaks, now);
  store_floats(shrink, factor);
  for (int i = 0; i < kLanes; ++i) rows[i] = broadcast(0);
  for (int i = 0; i < kTileRows; ++i) {
    const float* x = dots + i * kStrip;
    const Floats shift = broadcast(-peaks[i]);
    const auto weight = [&](int64_t j) {
      const Floats dot = load_floats(x + j);
      return exp2_of(HasCap ? score.capped(dot) + shift : fused_multiply_add(dot, scale, shift));
    };
    Floats low = broadcast(0), high = broadcast(0);
    for (int64_t j = 0; j < count; j += kTileColumns) {
      const Floats first = weight(j), second = weight(j + kLanes);
      low = low + first;
      high = high + second;
      Step::store(weights + i * kStrip + j / Step::kPair, first, second);
    }
    rows[i] = low + high;
  }
  const Floats added = fold_rows(rows, [](Floats x, Floats y) { return x + y; });
  store_floats(totals, fused_multiply_add(load_floats(totals), factor, added));
}

// A panel of query rows from `row` on, the item's rows from `local` on, against the keys [low,
// high) of the packed block that starts at key `block`. `low` is a multiple of kTileColumns.
template <class Step>
void forward_panel(const SequenceHead& head, const Score& score, const ForwardScratch& s,
                   int64_t row, int64_t local, int64_t block, int64_t low, int64_t high) {
  // Keys that all rows see.
  const Band everyone{head.keys_of(row + kTileRows - 1).low, head.keys_of(row).high};
  Band bands[kTileRows];
  for (int i = 0; i < kTileRows; ++i) bands[i] = head.keys_of(row + i);
  const float* q = s.q + local * s.units;
  const Floats masked = broadcast(score.masked);
  for (int64_t j = low; j < high; j += kTileColumns) {
    const bool is_border = j < everyone.low || j + kTileColumns > everyone.high;
    const auto store = [&](int i, int v, Floats x) {
      if (__builtin_expect(is_border, 0)) {
        const int64_t first = j + v * kLanes;
        x = keep_lanes(x, bands[i].low - first, bands[i].high - first, masked);
      }
      store_floats(s.scores + i * kStrip + j - low + v * kLanes, x);
    };
    const float* panel = s.keys + (j - block) * s.units;
    if (high - j > kLanes) {
      tile<Step, 2, 1, kTileRows>(s.units, q, panel, store);
    } else {
      tile<Step, 1, 1, kTileRows>(s.units, q, panel, store);
      for (int i = 0; i < kTileRows; ++i)
        store_floats(s.scores + i * kStrip + j - low + kLanes, masked);
    }
  }
  const int64_t panel = local / kTileRows * kLanes, count = round_up(high - low, kTileColumns);
  alignas(64) float shrink[kLanes];
  if (score.cap2 > 0)
    softmax_strip<Step, true>(score, s.scores, s.weights, count, s.peaks + panel, s.totals + panel,
                              shrink);
  else
    softmax_strip<Step, false>(score, s.scores, s.weights, count, s.peaks + panel, s.totals + panel,
                               shrink);
  const int64_t summed = (high - low + Step::kPair - 1) / Step::kPair;
  product<Step, kStrip, 1>(
      s.columns, summed, s.weights, s.values + (low - block) / Step::kPair * kTileColumns,
      kKeys / Step::kPair * kTileColumns, [&](int i, int64_t c, Floats x) {
        float* sum = s.sums + (local + i) * s.columns + c;
        store_floats(sum, fused_multiply_add(load_floats(sum), broadcast(shrink[i]), x));
      });
}

// out = sums / totals, lse = peak + ln total.
void finish_rows(const SequenceHead& head, const QueryItem& item, const ForwardScratch& s) {
  const Rows<float> lse = head.per_query(head.a.lse, 1);
  with_element(head.a.out.dtype, [&](auto element) {
    const auto out = head.queries<decltype(element)>(head.a.out);
    for (int64_t r = 0; r < item.rows; ++r) {
      const int64_t statistic = r / kTileRows * kLanes + r % kTileRows;
      const float total = s.totals[statistic];
      store_row(out[item.first_row + r], head.a.head_dim, s.sums + r * s.columns,
                broadcast(1 / total));
      *lse[item.first_row + r] = s.peaks[statistic] * 0.693147181f + __builtin_logf(total);
    }
  });
}

template <class Step>
void forward_item(const Attention& a, const QueryItem& item, Scratch scratch) {
  const SequenceHead head(a, item.sequence, item.kv_head);
  const Score score(a);
  const ForwardScratch s(scratch, a.head_dim, item.rows, Step::kPair);
  const int64_t padded = round_up(item.rows, kTileRows);
  pack_queries_across<Step, kTileRows>(head, a.q, item.first_row, padded, s.q);
  for (int64_t i = 0; i < padded * s.columns; ++i) s.sums[i] = 0;
  for (int64_t i = 0; i < padded / kTileRows * kLanes; ++i) {
    s.peaks[i] = Score::kNothingYet;
    s.totals[i] = 0;
  }
  const int64_t first = head.keys_of(item.first_row).low / kKeys * kKeys,
                end = head.keys_of(item.first_row + item.rows - 1).high;
  for (int64_t block = first; block < end; block += kKeys) {
    // Packed once for all rows of the item, so for all query heads of the group.
    const int64_t keys = round_up(smaller(kKeys, end - block), kTileColumns);
    pack_keys_across<Step, kTileColumns>(head, a.k, block, keys, s.keys);
    pack_keys_along<Step>(head, a.v, block, keys, s.values, kKeys / Step::kPair * kTileColumns);
    for (int64_t local = 0; local < item.rows; local += kTileRows) {
      const int64_t row = item.first_row + local;
      const int64_t low = larger(block, head.keys_of(row).low / kTileColumns * kTileColumns),
                    high = smaller(block + kKeys, head.keys_of(row + kTileRows - 1).high);
      if (low < high) forward_panel<Step>(head, score, s, row, local, block, low, high);
    }
  }
  finish_rows(head, item, s);
}

}  // namespace

void forward(const Attention& a, const QueryItem& item, void* scratch) {
  with_step(a, [&](auto step) { forward_item<decltype(step)>(a, item, Scratch(scratch)); });
}

size_t forward_scratch(const Attention& a, int64_t rows) {
  Scratch scratch(nullptr);
  with_step(a, [&](auto step) {
    [[maybe_unused]] const ForwardScratch parts(scratch, a.head_dim, rows, decltype(step)::kPair);
  });
  return scratch.bytes();
}

}  // namespace fms_accel::FMS_ACCEL_ISA
