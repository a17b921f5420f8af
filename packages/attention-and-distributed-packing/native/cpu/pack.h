// Rows of a tensor as the operands of tiles: converted to the units of the step, zero past the end.
#pragma once
#include "cpu/sequence_head.h"

namespace fms_accel::FMS_ACCEL_ISA {

// Panels of `Width` rows, [unit of the head dimension][Width]: the head dimension is summed over.
// A width that is no multiple of kLanes stores whole vectors too: what is too much is overwritten
// by the next unit, or lies in kLanes floats behind the last panel.
template <class Step, int Width, class T>
FMS_ACCEL_INLINE void pack_across(const Rows<T>& rows, int64_t dim, int64_t first, int64_t count,
                                  float* to) {
  constexpr int64_t kDepth = kLanes * Step::kPair;
  const int64_t units = (dim + Step::kPair - 1) / Step::kPair;
  for (int64_t r = first; r < first + count; r += Width, to += units * Width) {
    for (int w = 0; w < Width; w += kLanes) {
      const T* from[kLanes];
      rows.addresses(r + w, from);
      for (int i = Width - w; i < kLanes; ++i) from[i] = nullptr;
      for (int64_t u = 0; u < units; u += kLanes) {
        const int64_t left = dim - u * Step::kPair;
        Words x[kLanes];
        for (int i = 0; i < kLanes; ++i) {
          if (from[i] == nullptr)
            x[i] = zero_words();
          else if (left >= kDepth)
            x[i] = Step::load(from[i] + u * Step::kPair);
          else
            x[i] = Step::load(from[i] + u * Step::kPair, left);
        }
        transpose(x);
        for (int i = 0; i < kLanes && u + i < units; ++i)
          store_words(to + (u + i) * Width + w, x[i]);
      }
    }
  }
}

// kTileRows rows as the left operand of tiles, [row][kOperandRow]: as they lie in memory, so that
// nothing is transposed.
constexpr int64_t kOperandRow = kMostHeadDim + 16;  // rows must not fall into one set of the cache
template <class Step, class T>
FMS_ACCEL_INLINE void copy_rows(const T* const (&rows)[kTileRows], int64_t dim, float* to) {
  constexpr int64_t kDepth = kLanes * Step::kPair;
  for (int i = 0; i < kTileRows; ++i, to += kOperandRow) {
    const T* row = rows[i];
    float* units = to;
    for (int64_t c = 0; c < dim; c += kDepth, units += kLanes) {
      if (row == nullptr)
        store_words(units, zero_words());
      else if (dim - c >= kDepth)
        store_words(units, Step::load(row + c));
      else
        store_words(units, Step::load(row + c, dim - c));
    }
  }
}

// Asks for the lines of rows that are used soon: they lie too far apart for the hardware to follow.
template <class T>
FMS_ACCEL_INLINE void prefetch_rows(const Rows<T>& rows, int64_t dim, int64_t first,
                                    int64_t count) {
  for (const int64_t end = smaller(first + count, rows.count); first < end; first += kTileRows) {
    T* addresses[kTileRows];
    rows.addresses(first, addresses);
    for (int64_t i = 0; i < smaller(kTileRows, end - first); ++i) {
      const char* row = reinterpret_cast<const char*>(addresses[i]);
      for (int64_t byte = 0; byte < dim * static_cast<int64_t>(sizeof(T)); byte += 64)
        __builtin_prefetch(row + byte);
    }
  }
}

// Panels of kTileColumns columns, [unit of rows][kTileColumns], `panel` floats apart: the rows are
// summed over. Columns past `dim` are zero. `count` is a multiple of Step::kPair.
template <class Step, class T>
FMS_ACCEL_INLINE void pack_along(const Rows<T>& rows, int64_t dim, int64_t first, int64_t count,
                                 float* to, int64_t panel) {
  const auto row = [&](int64_t r) { return r < rows.count ? rows[r] : nullptr; };
  for (int64_t r = first; r < first + count; r += Step::kPair, to += kTileColumns) {
    const T* x = row(r);
    float* unit = to;
    if constexpr (Step::kPair == 1) {
      for (int64_t c = 0; c < dim; c += kTileColumns, unit += panel) {
        for (int v = 0; v < kTileColumns; v += kLanes) {
          const int64_t left = dim - c - v;
          Floats values = broadcast(0);
          if (x != nullptr && left >= kLanes)
            values = load_floats(x + c + v);
          else if (x != nullptr && left > 0)
            values = load_floats(x + c + v, static_cast<int>(left));
          store_floats(unit + v, values);
        }
      }
    } else {
      const T* y = row(r + 1);
      const auto load = [&](const T* p, int64_t c) {
        if (p == nullptr) return zero_words();
        return dim - c >= kTileColumns ? Step::load(p + c) : Step::load(p + c, dim - c);
      };
      for (int64_t c = 0; c < dim; c += kTileColumns, unit += panel)
        Step::interleave(load(x, c), load(y, c), unit);
    }
  }
}

// The same for the query rows, or the keys, of a tensor of any dtype.
template <class Step, int Width>
inline void pack_queries_across(const SequenceHead& head, const TokenTensor& x, int64_t first,
                                int64_t count, float* to) {
  with_element(x.dtype, [&](auto element) {
    pack_across<Step, Width>(head.queries<const decltype(element)>(x), head.a.head_dim, first,
                             count, to);
  });
}
inline void prefetch_queries(const SequenceHead& head, const TokenTensor& x, int64_t first,
                             int64_t count) {
  with_element(x.dtype, [&](auto element) {
    prefetch_rows(head.queries<decltype(element)>(x), head.a.head_dim, first, count);
  });
}
template <class Step, int Width>
inline void pack_keys_across(const SequenceHead& head, const TokenTensor& x, int64_t first,
                             int64_t count, float* to) {
  with_element(x.dtype, [&](auto element) {
    pack_across<Step, Width>(head.keys<const decltype(element)>(x), head.a.head_dim, first, count,
                             to);
  });
}
template <class Step>
inline void pack_queries_along(const SequenceHead& head, const TokenTensor& x, int64_t first,
                               int64_t count, float* to, int64_t panel) {
  with_element(x.dtype, [&](auto element) {
    pack_along<Step>(head.queries<const decltype(element)>(x), head.a.head_dim, first, count, to,
                     panel);
  });
}
template <class Step>
inline void pack_keys_along(const SequenceHead& head, const TokenTensor& x, int64_t first,
                            int64_t count, float* to, int64_t panel) {
  with_element(x.dtype, [&](auto element) {
    pack_along<Step>(head.keys<const decltype(element)>(x), head.a.head_dim, first, count, to,
                     panel);
  });
}

// row[0, dim) = factor * values.
template <class T>
FMS_ACCEL_INLINE void store_row(T* row, int64_t dim, const float* values, Floats factor) {
  int64_t c = 0;
  for (; c + kLanes <= dim; c += kLanes) store_floats(row + c, factor * load_floats(values + c));
  if (c < dim) store_floats(row + c, factor * load_floats(values + c), static_cast<int>(dim - c));
}

// Scratch memory, cut into parts that begin on cache lines. Without memory it only counts.
class Scratch {
 public:
  explicit Scratch(void* memory) : base_(static_cast<float*>(memory)) {}
  float* take(int64_t floats) {
    float* part = base_ == nullptr ? nullptr : base_ + used_;
    used_ += round_up(floats, 16);
    return part;
  }
  size_t bytes() const { return static_cast<size_t>(used_) * sizeof(float); }

 private:
  float* base_;
  int64_t used_ = 0;
};

}  // namespace fms_accel::FMS_ACCEL_ISA
