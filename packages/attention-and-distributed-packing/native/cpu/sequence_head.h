// One sequence under one key-value head: which rows it has, where they lie, who sees whom.
#pragma once
#include "cpu/vectors.h"

namespace fms_accel::FMS_ACCEL_ISA {

struct Band {
  int64_t low, high;  // [low, high)
};

// Rows of numbers: row r is head r % group of token r / group. Keys and values have group 1; a
// query row counts (token, query head of the group), so that all of them share one pass over the
// keys.
template <class T>
struct Rows {
  T* base;
  int64_t token_stride, head_stride;
  int64_t group, count;

  T* operator[](int64_t row) const {
    // 32-bit division is several times faster than 64-bit on many machines; the launcher sees to it
    // that rows fit.
    const uint32_t token = static_cast<uint32_t>(row) / static_cast<uint32_t>(group);
    return base + token * token_stride + (row - token * group) * head_stride;
  }
  // Rows from `first` on, with one division for all of them; null past the end.
  template <int n>
  inline void addresses(int64_t first, T* (&to)[n]) const {
    if (first >= count) {
      for (int i = 0; i < n; ++i) to[i] = nullptr;
      return;
    }
    const uint32_t token = static_cast<uint32_t>(first) / static_cast<uint32_t>(group);
    int64_t member = first - token * group;
    T* row = base + token * token_stride + member * head_stride;
    const int64_t to_next_token = token_stride - (group - 1) * head_stride;
    for (int i = 0; i < n; ++i) {
      to[i] = first + i < count ? row : nullptr;
      const bool is_last = ++member == group;
      row += is_last ? to_next_token : head_stride;
      if (is_last) member = 0;
    }
  }
};

class SequenceHead {
 public:
  const Attention& a;
  const int64_t kv_head, group, first_token, length, rows;

  SequenceHead(const Attention& attention, const Sequence& sequence, int64_t kv_head_index)
      : a(attention),
        kv_head(kv_head_index),
        group(attention.heads / attention.kv_heads),
        first_token(sequence.first_token),
        length(sequence.length),
        rows(length * group),
        reach_(attention.window > 0 ? smaller(attention.window, length) : length) {}

  template <class T>
  Rows<T> queries(const TokenTensor& x) const {
    T* base =
        static_cast<T*>(x.data) + first_token * x.token_stride + kv_head * group * x.head_stride;
    return {base, x.token_stride, x.head_stride, group, rows};
  }
  template <class T>
  Rows<T> keys(const TokenTensor& x) const {
    T* base = static_cast<T*>(x.data) + first_token * x.token_stride + kv_head * x.head_stride;
    return {base, x.token_stride, 0, 1, length};
  }
  // Of [tokens, heads, width] in contiguous float32.
  Rows<float> per_query(float* x, int64_t width) const {
    float* base = x + (first_token * a.heads + kv_head * group) * width;
    return {base, a.heads * width, width, group, rows};
  }

  // The keys that a query row sees. Rows past the end see what the last one sees.
  Band keys_of(int64_t row) const {
    return keys_of_token(static_cast<uint32_t>(smaller(row, rows - 1)) /
                         static_cast<uint32_t>(group));
  }
  // Of rows from `row` on.
  template <int n>
  void keys_of(int64_t row, Band (&bands)[n]) const {
    int64_t token = static_cast<uint32_t>(smaller(row, rows - 1)) / static_cast<uint32_t>(group);
    int64_t member = smaller(row, rows - 1) - token * group;
    for (int i = 0; i < n; ++i) {
      bands[i] = keys_of_token(token);
      if (++member == group && token + 1 < length) {
        member = 0;
        ++token;
      }
    }
  }
  // The query rows that see a key; none past the end.
  Band rows_of(int64_t key) const {
    if (key >= length) return {rows, 0};
    const int64_t first = a.is_causal ? key : larger(0, key - reach_ + 1);
    return {first * group, smaller(length, key + reach_) * group};
  }

 private:
  Band keys_of_token(int64_t i) const {
    return {larger(0, i - reach_ + 1), smaller(length, a.is_causal ? i + 1 : i + reach_)};
  }

  const int64_t reach_;
};

// Scores in units of log2, from raw products q . k.
struct Score {
  float scale2;  // of a product
  float cap2;    // 0: no soft cap
  float inner;   // of a product, inside the tanh
  float masked;  // a product that stands for a key that is not seen: its weight is 0

  explicit Score(const Attention& a)
      : scale2(a.scale * 1.44269504f),
        cap2(a.soft_cap * 1.44269504f),
        inner(a.soft_cap > 0 ? a.scale / a.soft_cap : 0),
        masked(-kLarge / scale2 > -3e38f ? -kLarge / scale2 : -3e38f) {}

  // What a score of this size may be compared with: far above `masked`, far below any true score.
  static constexpr float kNothingYet = -1e20f;

  Floats tanh(Floats dot) const { return tanh_of(dot * broadcast(inner)); }
  Floats capped(Floats dot) const {
    return where_less(broadcast(masked), dot, broadcast(cap2) * tanh(dot), dot);
  }

 private:
  static constexpr float kLarge = 1e30f;
};

}  // namespace fms_accel::FMS_ACCEL_ISA
