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
  // Of a panel: its rows as left operand, their scores and then weights, and the weighted sums of
  // values where one block has all keys.
  float *query, *scores, *sums_here;
  // Of a block of keys.
  float *keys, *values;
  // Of all rows: the weighted sums of values [row][columns], and a vector of statistics a panel.
  float *sums, *peaks, *totals;

  ForwardScratch(Scratch& scratch, int64_t dim, int64_t rows, int pair)
      : units((dim + pair - 1) / pair), columns(round_up(dim, kLanes)) {
    const int64_t padded = round_up(rows, kTileRows), panels = padded / kTileRows;
    query = scratch.take(kTileRows * kOperandRow);
    scores = scratch.take(kTileRows * kStrip);
    sums_here = scratch.take(kTileRows * columns);
    keys = scratch.take(kKeys * units);
    values = scratch.take(kKeys / pair * round_up(dim, kTileColumns));
    sums = scratch.take(padded * columns);
    peaks = scratch.take(panels * kLanes);
    totals = scratch.take(panels * kLanes);
  }
};

// Softmax of a strip of rows of `count` products (a multiple of kTileColumns) against their running
// maxima; the weights replace them, as the rows of the next product. `shrink` gets the factors by
// which what was summed so far must shrink.
template <class Step, bool HasCap>
FMS_ACCEL_INLINE void softmax_strip(const Score& score, float* strip, int64_t count, float* peaks,
                                    float* totals, float* shrink) {
  const Floats scale = broadcast(score.scale2);
  Floats rows[kLanes];
  for (int i = 0; i < kLanes; ++i) rows[i] = broadcast(0);
  for (int i = 0; i < kTileRows; ++i) {
    const float* x = strip + i * kStrip;
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
    float* x = strip + i * kStrip;
    const Floats shift = broadcast(-peaks[i]);
    const auto weight = [&](int64_t j) {
      const Floats dot = load_floats(x + j);
      return weight_of<Step>(HasCap ? score.capped(dot) + shift
                                    : fused_multiply_add(dot, scale, shift));
    };
    Floats low = broadcast(0), high = broadcast(0);
    for (int64_t j = 0; j < count; j += kTileColumns) {
      const Floats first = weight(j), second = weight(j + kLanes);
      low = low + first;
      high = high + second;
      Step::store(x + j / Step::kPair, first, second);
    }
    rows[i] = low + high;
  }
  const Floats added = fold_rows(rows, [](Floats x, Floats y) { return x + y; });
  store_floats(totals, fused_multiply_add(load_floats(totals), factor, added));
}

// Scores of a tile that rows do not see, from row `row` and key `key` on.
void hide(const SequenceHead& head, int64_t row, int64_t key, float masked, float* scores) {
  Band bands[kTileRows];
  head.keys_of(row, bands);
  for (int i = 0; i < kTileRows; ++i, scores += kStrip) {
    const Band band = bands[i];
    for (int v = 0; v < kTileColumns; v += kLanes) {
      const int64_t first = key + v;
      store_floats(scores + v, keep_lanes(load_floats(scores + v), band.low - first,
                                          band.high - first, broadcast(masked)));
    }
  }
}

// out = sums / totals, lse = peak + ln total, of `rows` rows.
void finish_panel(const SequenceHead& head, int64_t row, int64_t rows, const float* sums,
                  int64_t columns, const float* peaks, const float* totals) {
  const Floats total = load_floats(totals);
  alignas(64) float inverse[kLanes], logs[kLanes];
  store_floats(inverse, broadcast(1) / total);
  store_floats(logs,
               fused_multiply_add(load_floats(peaks), broadcast(0.693147181f), log_of(total)));
  with_element(head.a.out.dtype, [&](auto element) {
    decltype(element)* out[kTileRows];
    head.queries<decltype(element)>(head.a.out).addresses(row, out);
    for (int64_t i = 0; i < rows; ++i)
      store_row(out[i], head.a.head_dim, sums + i * columns, broadcast(inverse[i]));
  });
  float* lse[kTileRows];
  head.per_query(head.a.lse, 1).addresses(row, lse);
  for (int64_t i = 0; i < rows; ++i) *lse[i] = logs[i];
}

// The panel's rows as left operand; those of the panel that follows are asked for.
template <class Step>
FMS_ACCEL_INLINE void take_queries(const SequenceHead& head, int64_t row, float* to) {
  with_element(head.a.q.dtype, [&](auto element) {
    using Element = const decltype(element);
    const Rows<Element> queries = head.queries<Element>(head.a.q);
    Element* rows[kTileRows];
    queries.addresses(row, rows);
    copy_rows<Step>(rows, head.a.head_dim, to);
    prefetch_rows(queries, head.a.head_dim, row + kTileRows, kTileRows);
  });
}

// A panel of query rows from `row` on, the item's rows from `local` on, against the packed block of
// keys that starts at key `block`, of which it sees some.
template <class Step>
void forward_panel(const SequenceHead& head, const Score& score, const ForwardScratch& s,
                   int64_t row, int64_t local, int64_t block) {
  const Band front = head.keys_of(row), back = head.keys_of(row + kTileRows - 1);
  const int64_t low = larger(block, front.low / kTileColumns * kTileColumns),
                high = smaller(block + kKeys, back.high);
  if (low >= high) return;
  take_queries<Step>(head, row, s.query);
  for (int64_t j = low; j < high; j += kTileColumns) {
    float* scores = s.scores + j - low;
    const auto store = [&](int i, int v, Floats x) {
      store_floats(scores + i * kStrip + v * kLanes, x);
    };
    const float* panel = s.keys + (j - block) * s.units;
    const bool is_whole = high - j > kLanes;
    if (is_whole)
      tile<Step, 2, kOperandRow, 1>(s.units, s.query, panel, store);
    else
      tile<Step, 1, kOperandRow, 1>(s.units, s.query, panel, store);
    // Some rows do not see some of these keys.
    if (!is_whole || j < back.low || j + kTileColumns > front.high)
      hide(head, row, j, score.masked, scores);
  }
  const bool is_first = front.low >= block, is_last = back.high <= block + kKeys;
  if (is_last) prefetch_queries(head, head.a.out, row, kTileRows);
  const int64_t panel = local / kTileRows * kLanes, count = round_up(high - low, kTileColumns);
  float *peaks = s.peaks + panel, *totals = s.totals + panel;
  if (is_first) {
    store_floats(peaks, broadcast(Score::kNothingYet));
    store_floats(totals, broadcast(0));
  }
  alignas(64) float shrink[kLanes];
  if (score.cap2 > 0)
    softmax_strip<Step, true>(score, s.scores, count, peaks, totals, shrink);
  else
    softmax_strip<Step, false>(score, s.scores, count, peaks, totals, shrink);
  float* sums = is_first && is_last ? s.sums_here : s.sums + local * s.columns;
  const int64_t summed = (high - low + Step::kPair - 1) / Step::kPair;
  const float* values = s.values + (low - block) / Step::kPair * kTileColumns;
  constexpr int64_t kPanel = kKeys / Step::kPair * kTileColumns;
  if (is_first) {
    product<Step, kStrip, 1>(
        s.columns, summed, s.scores, values, kPanel,
        [&](int i, int64_t c, Floats x) { store_floats(sums + i * s.columns + c, x); });
  } else {
    product<Step, kStrip, 1>(
        s.columns, summed, s.scores, values, kPanel, [&](int i, int64_t c, Floats x) {
          float* sum = sums + i * s.columns + c;
          store_floats(sum, fused_multiply_add(load_floats(sum), broadcast(shrink[i]), x));
        });
  }
  if (is_last)
    finish_panel(head, row, smaller(kTileRows, head.rows - row), sums, s.columns, peaks, totals);
}

template <class Step>
void forward_item(const Attention& a, const QueryItem& item, Scratch scratch) {
  const SequenceHead head(a, item.sequence, item.kv_head);
  const Score score(a);
  const ForwardScratch s(scratch, a.head_dim, item.rows, Step::kPair);
  const int64_t first = head.keys_of(item.first_row).low / kKeys * kKeys,
                end = head.keys_of(item.first_row + item.rows - 1).high;
  for (int64_t block = first; block < end; block += kKeys) {
    // Packed once for all rows of the item, so for all query heads of the group.
    const int64_t keys = round_up(smaller(kKeys, end - block), kTileColumns);
    pack_keys_across<Step, kTileColumns>(head, a.k, block, keys, s.keys);
    pack_keys_along<Step>(head, a.v, block, keys, s.values, kKeys / Step::kPair * kTileColumns);
    for (int64_t local = 0; local < item.rows; local += kTileRows)
      forward_panel<Step>(head, score, s, item.first_row + local, local, block);
  }
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
