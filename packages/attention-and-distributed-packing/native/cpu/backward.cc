// Backward: a chunk of keys against all query rows that see it, block by block. The chunk sums the
// gradients of its own keys over all query heads of the group. The gradient of a block of query
// rows sums over blocks of keys in rising order, through all chunks: each goes on where the one
// before it ended, when the block's turn reaches it. So no bit depends on how keys are cut into
// chunks (Dao et al., "FlashAttention", 2022, algorithm 4).
#include "cpu/backward_tile.h"
#include "cpu/kernel_sources.h"
#include "cpu/turns.h"

namespace fms_accel::FMS_ACCEL_ISA {

namespace {

// The query rows [row0, row1) against the keys [key0, key1) of the chunk that begins at key
// `chunk`.
template <class Step>
void backward_block(const SequenceHead& head, const Score& score, const BackwardScratch& s,
                    int64_t chunk, int64_t key0, int64_t key1, int64_t row0, int64_t row1) {
  constexpr int kPair = Step::kPair;
  const auto inner_tile =
      score.cap2 > 0 ? &backward_tile<Step, true, false> : &backward_tile<Step, false, false>;
  const auto border_tile =
      score.cap2 > 0 ? &backward_tile<Step, true, true> : &backward_tile<Step, false, true>;
  for (int64_t key = key0; key < key1; key += kTileRows) {
    const int64_t at = key - chunk, last = smaller(key + kTileRows, head.length) - 1;
    float* slope_block = s.slope_block + (key - key0) / kPair * kRowBlock;
    const int64_t low = larger(0, head.rows_of(key).low - row0) / kTileColumns * kTileColumns;
    const int64_t high = smaller(row1, head.rows_of(last).high) - row0;
    // Rows that see all keys.
    const Band everyone{head.rows_of(key + kTileRows - 1).low - row0,
                        key + kTileRows <= head.length ? head.rows_of(key).high - row0 : 0};
    for (int64_t t = 0; t < row1 - row0; t += kTileColumns) {
      if (t >= low && t < high) {
        const bool is_inner = t >= everyone.low && t + kTileColumns <= everyone.high;
        (is_inner ? inner_tile : border_tile)(head, score, s, s.k_across + at * s.units,
                                              s.v_across + at * s.units, key, slope_block, row0, t);
      } else {  // nobody sees these keys, but the product for dq reads them
        for (int u = 0; u < kTileRows / kPair; ++u)
          for (int lane = 0; lane < kTileColumns; lane += kLanes)
            store_words(slope_block + u * kRowBlock + t + lane, zero_words());
      }
    }
    if (low >= high) continue;
    const int64_t summed = (high - low + kPair - 1) / kPair, from = low / kPair;
    add_product<Step, kStrip, 1>(s.columns, summed, s.weights + from,
                                 s.g_along + from * kTileColumns, s.row_panel,
                                 s.dv + at * s.columns);
    if constexpr (kPair == 1) {
      add_product<Step, kRowBlock, 1>(s.columns, summed, slope_block + from,
                                      s.q_along + from * kTileColumns, s.row_panel,
                                      s.dk + at * s.columns);
    } else {
      add_product<Step, kStrip, 1>(s.columns, summed, s.slopes + from,
                                   s.q_along + from * kTileColumns, s.row_panel,
                                   s.dk + at * s.columns);
    }
  }
  for (int64_t row = row0; row < row1; row += kTileRows) {
    const int64_t low = larger(key0, head.keys_of(row).low) / kPair;
    const int64_t high =
        (smaller(key1, head.keys_of(row + kTileRows - 1).high) + kPair - 1) / kPair;
    if (low >= high) continue;
    add_product<Step, 1, kRowBlock>(s.columns, high - low,
                                    s.slope_block + (low - key0 / kPair) * kRowBlock + (row - row0),
                                    s.k_along + (low - chunk / kPair) * kTileColumns, s.key_panel,
                                    s.dq + (row - row0) * s.columns);
  }
}

template <class Step>
void pack_rows(const SequenceHead& head, const BackwardScratch& s, int64_t row0, int64_t row1) {
  const Attention& a = head.a;
  const int64_t padded = round_up(row1 - row0, kTileColumns);
  pack_queries_across<Step, kTileColumns>(head, a.q, row0, padded, s.q_across);
  pack_queries_across<Step, kTileColumns>(head, a.out_gradient, row0, padded, s.g_across);
  pack_queries_along<Step>(head, a.q, row0, padded, s.q_along, s.row_panel);
  pack_queries_along<Step>(head, a.out_gradient, row0, padded, s.g_along, s.row_panel);
  const Rows<float> lse = head.per_query(a.lse, 1), delta = head.per_query(a.delta, 1);
  for (int64_t r = 0; r < padded; ++r) {
    const bool is_row = row0 + r < row1;
    s.lse2[r] = is_row ? *lse[row0 + r] * 1.44269504f : 0;
    s.delta[r] = is_row ? *delta[row0 + r] : 0;
  }
}

// Begins the block's sums of dq where the chunk before left them.
void load_query_gradient(const SequenceHead& head, const BackwardScratch& s, bool is_first,
                         int64_t row0, int64_t row1) {
  const int64_t dim = head.a.head_dim;
  const Rows<float> sums = head.per_query(head.a.dq_sum, dim);
  for (int64_t r = row0; r < row1; ++r) {
    float* part = s.dq + (r - row0) * s.columns;
    for (int64_t c = 0; c < dim; c += kLanes) {
      Floats sum = broadcast(0);
      if (!is_first && dim - c >= kLanes)
        sum = load_floats(sums[r] + c);
      else if (!is_first)
        sum = load_floats(sums[r] + c, static_cast<int>(dim - c));
      store_floats(part + c, sum);
    }
  }
  // Rows past the end, which fill the last panel.
  for (int64_t i = (row1 - row0) * s.columns; i < round_up(row1 - row0, kTileRows) * s.columns; ++i)
    s.dq[i] = 0;
}

// Leaves the sums to the next chunk; the last one writes the gradient.
void store_query_gradient(const SequenceHead& head, const BackwardScratch& s, bool is_last,
                          int64_t row0, int64_t row1) {
  const Attention& a = head.a;
  const auto store = [&](const auto& rows, float factor) {
    for (int64_t r = row0; r < row1; ++r)
      store_row(rows[r], a.head_dim, s.dq + (r - row0) * s.columns, broadcast(factor));
  };
  if (!is_last) return store(head.per_query(a.dq_sum, a.head_dim), 1);
  with_element(a.q_gradient.dtype, [&](auto element) {
    store(head.queries<decltype(element)>(a.q_gradient), a.scale);
  });
}

template <class Step>
void backward_item(const Attention& a, const KeyItem& item, Turns& turns, Scratch scratch) {
  const SequenceHead head(a, item.sequence, item.kv_head);
  const Score score(a);
  const int64_t chunk = item.chunk * item.chunk_keys,
                end = smaller(chunk + item.chunk_keys, head.length);
  const BackwardScratch s(scratch, a.head_dim, end - chunk, Step::kPair);
  pack_keys_across<Step, kTileRows>(head, a.k, chunk, s.keys, s.k_across);
  pack_keys_across<Step, kTileRows>(head, a.v, chunk, s.keys, s.v_across);
  pack_keys_along<Step>(head, a.k, chunk, s.keys, s.k_along, s.key_panel);
  for (int64_t i = 0; i < s.keys * s.columns; ++i) s.dk[i] = s.dv[i] = 0;
  const Band rows{head.rows_of(chunk).low, head.rows_of(end - 1).high};
  // The last rows first: under the causal mask all chunks see those, so that chunks that run
  // together follow each other closely.
  for (int64_t block = (head.rows - 1) / kRowBlock; block >= 0; --block) {
    const int64_t row0 = block * kRowBlock, row1 = smaller(row0 + kRowBlock, head.rows);
    if (row0 >= rows.high || row1 <= rows.low) continue;
    const Band keys{head.keys_of(row0).low, head.keys_of(row1 - 1).high};
    pack_rows<Step>(head, s, row0, row1);
    // The chunks that add to this block.
    const int64_t first = keys.low / item.chunk_keys, last = (keys.high - 1) / item.chunk_keys;
    turns.await(item.first_turn + block, item.chunk - first);
    load_query_gradient(head, s, item.chunk == first, row0, row1);
    for (int64_t key = chunk; key < end; key += kBlockKeys) {
      if (key < keys.high && key + kBlockKeys > keys.low)
        backward_block<Step>(head, score, s, chunk, key, smaller(key + kBlockKeys, end), row0,
                             row1);
    }
    store_query_gradient(head, s, item.chunk == last, row0, row1);
    turns.pass(item.first_turn + block);
  }
  const auto store_gradients = [&](const TokenTensor& to, const float* sums, float factor) {
    with_element(to.dtype, [&](auto element) {
      const auto gradients = head.keys<decltype(element)>(to);
      for (int64_t j = chunk; j < end; ++j)
        store_row(gradients[j], a.head_dim, sums + (j - chunk) * s.columns, broadcast(factor));
    });
  };
  store_gradients(a.k_gradient, s.dk, a.scale);
  store_gradients(a.v_gradient, s.dv, 1);
}

template <class T, class U>
float dot(const T* x, const U* y, int64_t count) {
  Floats sums = broadcast(0);
  for (int64_t c = 0; c < count; c += kLanes) {
    const int lanes = static_cast<int>(smaller(kLanes, count - c));
    sums =
        fused_multiply_add(lanes == kLanes ? load_floats(x + c) : load_floats(x + c, lanes),
                           lanes == kLanes ? load_floats(y + c) : load_floats(y + c, lanes), sums);
  }
  return sum_of_lanes(sums);
}

}  // namespace

void backward(const Attention& a, const KeyItem& item, Turns& turns, void* scratch) {
  with_step(a, [&](auto step) { backward_item<decltype(step)>(a, item, turns, Scratch(scratch)); });
}

size_t backward_scratch(const Attention& a, int64_t keys) {
  Scratch scratch(nullptr);
  with_step(a, [&](auto step) {
    [[maybe_unused]] const BackwardScratch parts(scratch, a.head_dim, keys, decltype(step)::kPair);
  });
  return scratch.bytes();
}

void output_dots(const Attention& a, int64_t first, int64_t end) {
  with_element(a.out.dtype, [&](auto element) {
    using Out = decltype(element);
    with_element(a.out_gradient.dtype, [&](auto gradient_element) {
      using Gradient = decltype(gradient_element);
      for (int64_t t = first; t < end; ++t) {
        for (int64_t h = 0; h < a.heads; ++h) {
          const TokenTensor &out = a.out, &gradient = a.out_gradient;
          a.delta[t * a.heads + h] =
              dot(static_cast<const Out*>(out.data) + t * out.token_stride + h * out.head_stride,
                  static_cast<const Gradient*>(gradient.data) + t * gradient.token_stride +
                      h * gradient.head_stride,
                  a.head_dim);
        }
      }
    });
  });
}

}  // namespace fms_accel::FMS_ACCEL_ISA
