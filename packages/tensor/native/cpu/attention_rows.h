// What the kernels of attention share: the query rows of a key-value head, which keys they see, and
// the layout of their scores.
//
// All query heads of a group share the keys, so a query row is a (token, head of the group), tokens
// outermost. A panel is kTileColumns query rows side by side, as the lanes of vectors: scores are
// [key][row of the panel], which is at once what the first product writes, what a softmax down the
// columns reads without joining lanes, and a packed operand of the next product (cpu/gemm.h).
#pragma once
#include "cpu/attention.h"
#include "cpu/gemm_pack.h"
#include "cpu/gemm_plan.h"
#include "cpu/gemm_tile.h"
#include "cpu/vector_math.h"
#include "engine/thread_pool.h"

namespace fms_accel::FMS_ACCEL_ISA {

constexpr float kInfinity = __builtin_inff();

FMS_ACCEL_INLINE int64_t round_up_to(int64_t a, int64_t b) { return divide_up(a, b) * b; }

FMS_ACCEL_INLINE const void* at(const AttentionTensor& t, int64_t batch, int64_t head,
                                int64_t token) {
  const int64_t offset = batch * t.batch_stride + head * t.head_stride + token * t.token_stride;
  return static_cast<const char*>(t.data) + offset * static_cast<int64_t>(item_size(t.dtype));
}

// Keys [begin, end).
struct KeyRange {
  int64_t begin, end;
};

// Those that the query of a token may see by position.
FMS_ACCEL_INLINE KeyRange keys_of_token(const AttentionArguments& p, int64_t token) {
  const int64_t position = token + p.keys - p.queries;
  KeyRange range{0, p.keys};
  if (p.causal) range.end = clamp_of(position + 1, 0, p.keys);
  if (p.window > 0) range.begin = clamp_of(position - p.window + 1, 0, range.end);
  return range;
}

// The query rows of one (batch, key-value head).
struct QueryRows {
  const AttentionArguments& p;
  int64_t batch, kv_head, group, count;

  QueryRows(const AttentionArguments& arguments, int64_t batch_index, int64_t kv_head_index)
      : p(arguments),
        batch(batch_index),
        kv_head(kv_head_index),
        group(arguments.heads / arguments.kv_heads),
        count(arguments.queries * group) {}

  int64_t token(int64_t row) const { return row / group; }
  int64_t head(int64_t row) const { return kv_head * group + row % group; }
  int64_t statistics_index(int64_t row) const {
    return (batch * p.heads + head(row)) * p.queries + token(row);
  }
  const void* row_of(const AttentionTensor& t, int64_t row) const {
    return at(t, batch, head(row), token(row));
  }
  // What rows [first, end), end > first, may see in all: the ranges of rows move monotonically.
  KeyRange keys_of(int64_t first, int64_t end) const {
    return {keys_of_token(p, token(first)).begin,
            max_of(keys_of_token(p, token(first)).begin, keys_of_token(p, token(end - 1)).end)};
  }

  // Rows [first, first + number) of q, or of the gradient, as lanes; `index` is filled. The
  // launcher sees to it that `width` divides the strides of heads and tokens.
  DenseOperand lanes(const AttentionTensor& t, int64_t width, int64_t first, int64_t number,
                     int32_t* index) const {
    for (int64_t i = 0; i < number; ++i) {
      index[i] = static_cast<int32_t>(token(first + i) * (t.token_stride / width) +
                                      (first + i) % group * (t.head_stride / width));
    }
    return {at(t, batch, kv_head * group, 0), t.dtype, width, 1, index, nullptr};
  }
  // Keys from `first` on as lanes.
  DenseOperand key_lanes(const AttentionTensor& t, int64_t first) const {
    return {at(t, batch, kv_head, first), t.dtype, t.token_stride, 1, nullptr, nullptr};
  }
};

// A row-major operand whose rows are what is summed over, from one whose rows are the lanes.
FMS_ACCEL_INLINE DenseOperand along(const DenseOperand& lanes) {
  return {lanes.data, lanes.dtype, lanes.k_stride, lanes.lane_stride, nullptr, lanes.lane_index};
}

// The dimensions of a head as panels of A, about equally high.
FMS_ACCEL_INLINE Panels dimension_panels(int64_t dim) {
  const int64_t count = divide_up(dim, kTileRows);
  return row_panels(0, dim, divide_up(dim, count));
}

FMS_ACCEL_INLINE void pack_panels(Compute compute, const DenseOperand& source, int64_t lanes,
                                  int64_t width, int64_t last_width, int64_t k, uint32_t* to) {
  if (lanes > 0 && k > 0) pack_dense(compute, source, {to, 0, lanes, width, last_width, 0, k});
}

// Which keys each row of a panel sees. Lanes behind the last row see what the last one sees.
struct PanelMask {
  const AttentionArguments& p;
  int64_t batch;
  KeyRange any, all;  // keys that some row, and that every row may see by position
  int32_t begin[kTileColumns], end[kTileColumns], segment[kTileColumns];

  PanelMask(const QueryRows& rows, int64_t first, int64_t number)
      : p(rows.p), batch(rows.batch), any(rows.keys_of(first, first + number)) {
    for (int64_t lane = 0; lane < kTileColumns; ++lane) {
      const int64_t token = rows.token(first + min_of(lane, number - 1));
      const KeyRange keys = keys_of_token(p, token);
      begin[lane] = static_cast<int32_t>(keys.begin);
      end[lane] = static_cast<int32_t>(keys.end);
      segment[lane] = p.query_segments == nullptr ? 0 : p.query_segments[batch * p.queries + token];
    }
    all = {begin[kTileColumns - 1], end[0]};
  }

  // Sets the scores [count][kTileColumns] with keys [first, first + count) that are hidden to -inf.
  void hide(int64_t first, int64_t count, float* scores) const {
    for (int64_t j = 0; j < count; ++j) {
      const int32_t key = static_cast<int32_t>(first + j);
      float* row = scores + j * kTileColumns;
      if (key < all.begin || key >= all.end) {
        for (int l = 0; l < kTileColumns; ++l)
          row[l] = key >= begin[l] && key < end[l] ? row[l] : -kInfinity;
      }
      if (p.key_mask != nullptr && p.key_mask[batch * p.keys + key] == 0) {
        for (int l = 0; l < kTileColumns; ++l) row[l] = -kInfinity;
      }
      if (p.query_segments != nullptr) {
        const int32_t own = p.key_segments[batch * p.keys + key];
        for (int l = 0; l < kTileColumns; ++l) row[l] = segment[l] == own ? row[l] : -kInfinity;
      }
    }
  }
};

// What exponents of scores are multiplied by. A cap acts on scaled scores, and the largest score is
// the largest scaled one only for a positive scale: these are scaled beforehand.
FMS_ACCEL_INLINE float factor_of_scores(const AttentionArguments& p) {
  return p.soft_cap > 0 || !(p.scale > 0) ? 1.0f : p.scale;
}
// Scales and caps products q · k where `factor_of_scores` does not.
FMS_ACCEL_INLINE void scale_and_cap(const AttentionArguments& p, int64_t count, float* scores) {
  if (p.soft_cap > 0) {
    for (int64_t j = 0; j < count; ++j)
      scores[j] = p.soft_cap * tanh_of(scores[j] * p.scale / p.soft_cap);
  } else if (!(p.scale > 0)) {
    for (int64_t j = 0; j < count; ++j) scores[j] *= p.scale;
  }
}

// Packs rows [0, count) of kTileColumns floats as a panel of B whose k they are. In place too.
FMS_ACCEL_INLINE void pack_columns(Compute compute, const float* from, int64_t count,
                                   uint32_t* to) {
  with_step(compute, [&](auto step) {
    using Step = decltype(step);
    for (int64_t j = 0; j < count; j += Step::kValues, to += kTileColumns) {
      const float* row = from + j * kTileColumns;
      FMS_ACCEL_UNROLL
      for (int v = 0; v < kTileVectors; ++v, row += kLanes) {
        if constexpr (Step::kValues == 2) {
          store_words(to + v * kLanes,
                      j + 1 < count
                          ? Step::interleave(row, row + kTileColumns)
                          : Step::interleave(row, static_cast<const float*>(nullptr), kLanes));
        } else {
          store_words(to + v * kLanes, Step::load(row));
        }
      }
    }
  });
}

// rows[lane][dim] = columns[dim][lane] for a panel; rows are `stride` floats apart, a multiple of
// kLanes, and `columns` holds that many dimensions.
FMS_ACCEL_INLINE void transpose_panel(const float* columns, int64_t dim, float* rows,
                                      int64_t stride) {
  for (int64_t d = 0; d < dim; d += kLanes) {
    for (int v = 0; v < kTileVectors; ++v) {
      Words block[kLanes];
      for (int i = 0; i < kLanes; ++i)
        block[i] = words_of(load_floats(columns + (d + i) * kTileColumns + v * kLanes));
      transpose(block);
      for (int i = 0; i < kLanes; ++i)
        store_words(reinterpret_cast<uint32_t*>(rows + (v * kLanes + i) * stride + d), block[i]);
    }
  }
}

// Stored elements = floats * factor.
inline void narrow_row(const float* from, int64_t count, float factor, const void* to,
                       DType dtype) {
  with_floating_element(dtype, [&](auto element) {
    using Element = decltype(element);
    auto* stored = static_cast<typename Element::Storage*>(const_cast<void*>(to));
    for (int64_t j = 0; j < count; ++j) stored[j] = Element::store(from[j] * factor);
  });
}

// Scratch of one thread, cut into parts. The first pass, without memory, only counts.
class Scratch {
 public:
  explicit Scratch(void* memory) : base_(static_cast<char*>(memory)) {}
  template <class T>
  T* take(int64_t count) {
    T* part = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    used_ += round_up_to(count * static_cast<int64_t>(sizeof(T)), 64);
    return part;
  }
  size_t bytes() const { return static_cast<size_t>(used_); }

 private:
  char* base_;
  int64_t used_ = 0;
};

// attention_few_rows.cc: forward of few query rows, as in decoding.
bool attention_has_few_rows(const AttentionArguments& p);
void attention_forward_few_rows(const AttentionArguments& p);

}  // namespace fms_accel::FMS_ACCEL_ISA
