// Reading and adding by index. Additions to one target happen in the order of the indices, whatever
// the number of threads.
#include <algorithm>

#include "cpu/array.h"
#include "cpu/kernel_sources.h"
#include "cpu/runs.h"
#include "engine/thread_pool.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

constexpr int64_t kLines = 64;  // lines that one parallel item walks side by side

// Offsets of a panel of lines in one operand.
void line_offsets(const Loop& lines, const Operand& operand, int64_t begin, int64_t end,
                  int64_t* offsets) {
  Position position(lines, begin);
  for (int64_t line = begin; line < end; ++line) {
    offsets[line - begin] = position.offset(lines, operand);
    position.advance(lines, 1);
  }
}

template <class Stored>
void gather_lines(const IndexedLines& g) {
  const auto* x = static_cast<const Stored*>(g.x.kept.data);
  auto* out = static_cast<Stored*>(g.out.kept.data);
  parallel_for(ceil_div(g.lines.numel, kLines), [&](int64_t item, int) {
    int64_t x_at[kLines], out_at[kLines], index_at[kLines];
    const int64_t begin = item * kLines, end = min_of(g.lines.numel, begin + kLines);
    line_offsets(g.lines, g.x.kept, begin, end, x_at);
    line_offsets(g.lines, g.out.kept, begin, end, out_at);
    line_offsets(g.lines, g.index_lines, begin, end, index_at);
    for (int64_t j = 0; j < g.length; ++j) {
      for (int64_t line = 0; line < end - begin; ++line) {
        const int64_t index = g.index[index_at[line] + j * g.index_stride];
        out[out_at[line] + j * g.out.stride] = x[x_at[line] + index * g.x.stride];
      }
    }
  });
}

template <class Element, class Compute>
void scatter_lines(const IndexedLines& g) {
  using Stored = typename Element::Storage;
  const auto* x = static_cast<const Stored*>(g.x.kept.data);
  auto* out = static_cast<Stored*>(g.out.kept.data);
  parallel_for(ceil_div(g.lines.numel, kLines), [&](int64_t item, int) {
    int64_t x_at[kLines], out_at[kLines], index_at[kLines];
    const int64_t begin = item * kLines, end = min_of(g.lines.numel, begin + kLines);
    line_offsets(g.lines, g.x.kept, begin, end, x_at);
    line_offsets(g.lines, g.out.kept, begin, end, out_at);
    line_offsets(g.lines, g.index_lines, begin, end, index_at);
    for (int64_t j = 0; j < g.length; ++j) {
      for (int64_t line = 0; line < end - begin; ++line) {
        Stored& target =
            out[out_at[line] + g.index[index_at[line] + j * g.index_stride] * g.out.stride];
        const Compute addend = Element::template load<Compute>(x[x_at[line] + j * g.x.stride]);
        target = Element::store(
            Add<Compute, Compute>::join(Element::template load<Compute>(target), addend));
      }
    }
  });
}

}  // namespace

void gather(const IndexedLines& g) {
  switch (item_size(g.x.kept.dtype)) {
    case 1:
      return gather_lines<uint8_t>(g);
    case 2:
      return gather_lines<uint16_t>(g);
    case 4:
      return gather_lines<uint32_t>(g);
    default:
      return gather_lines<uint64_t>(g);
  }
}

void scatter_add(const IndexedLines& g) {
  with_element(g.x.kept.dtype, [&](auto element) {
    using Element = decltype(element);
    if (is_floating(g.x.kept.dtype)) {
      scatter_lines<Element, float>(g);
    } else {
      scatter_lines<Element, int64_t>(g);
    }
  });
}

void index_select(const IndexedRows& s) {
  const int64_t row_bytes = s.inner * static_cast<int64_t>(item_size(s.dtype));
  const int64_t rows_per_item = ceil_div(kItem, s.inner);
  const int64_t items = ceil_div(s.count, rows_per_item);
  parallel_for(s.outer * items, [&](int64_t item, int) {
    const int64_t outer = item / items, begin = item % items * rows_per_item,
                  end = min_of(s.count, begin + rows_per_item);
    const char* source = static_cast<const char*>(s.source) + outer * s.source_rows * row_bytes;
    char* target = static_cast<char*>(s.target) + outer * s.target_rows * row_bytes;
    for (int64_t j = begin; j < end; ++j)
      memcpy(target + j * row_bytes, source + s.index[j] * row_bytes,
             static_cast<size_t>(row_bytes));
  });
}

namespace {

// Positions by the row that they name, ascending within each (a counting sort): those of row r are
// order[starts[r]] to order[starts[r + 1] - 1]. Negative ones are left out.
struct PositionsByRow {
  Array<int64_t> starts, order;
  PositionsByRow(const int64_t* index, int64_t count, int64_t rows)
      : starts(rows + 1), order(count) {
    for (int64_t j = 0; j < count; ++j) {
      if (index[j] >= 0) ++starts[index[j] + 1];
    }
    for (int64_t r = 0; r < rows; ++r) starts[r + 1] += starts[r];
    Array<int64_t> next(starts.begin(), starts.end() - 1);
    for (int64_t j = 0; j < count; ++j) {
      if (index[j] >= 0) order[next[index[j]]++] = j;
    }
  }
};

template <class Compute, class Total>
void add_rows(const IndexedRows& s) {
  const PositionsByRow positions(s.index, s.count, s.target_rows);
  const Array<int64_t>&starts = positions.starts, &order = positions.order;
  Array<int64_t> rows;  // that anything is added to
  for (int64_t r = 0; r < s.target_rows; ++r) {
    if (starts[r + 1] > starts[r]) rows.push_back(r);
  }

  const int64_t panels = ceil_div(s.inner, kRun), touched = static_cast<int64_t>(rows.size());
  const int64_t item_bytes = static_cast<int64_t>(item_size(s.dtype));
  parallel_for(s.outer * touched * panels, [&](int64_t item, int) {
    const int64_t panel = item % panels * kRun, width = min_of(kRun, s.inner - panel);
    const int64_t row = rows[item / panels % touched], outer = item / panels / touched;
    Loop loop;
    loop.ndim = 1;
    loop.shape[0] = loop.numel = width;
    Operand target{static_cast<char*>(s.target) +
                       ((outer * s.target_rows + row) * s.inner + panel) * item_bytes,
                   s.dtype,
                   {1}};
    alignas(64) Compute buffer[kRun], result[kRun];
    alignas(64) Total totals[kRun];
    const Compute* present = load_run<Compute>(loop, target, 0, width, buffer);
    for (int64_t i = 0; i < width; ++i) totals[i] = static_cast<Total>(present[i]);
    for (int64_t at = starts[row]; at < starts[row + 1]; ++at) {
      const Operand source{const_cast<char*>(static_cast<const char*>(s.source)) +
                               ((outer * s.source_rows + order[at]) * s.inner + panel) * item_bytes,
                           s.dtype,
                           {1}};
      const Compute* values = load_run<Compute>(loop, source, 0, width, buffer);
      for (int64_t i = 0; i < width; ++i)
        totals[i] = Add<Compute, Total>::join(totals[i], static_cast<Total>(values[i]));
    }
    for (int64_t i = 0; i < width; ++i) result[i] = static_cast<Compute>(totals[i]);
    store_run<Compute>(loop, target, 0, width, result);
  });
}

}  // namespace

void index_add(const IndexedRows& s) {
  if (is_floating(s.dtype)) {
    add_rows<float, double>(s);
  } else {
    add_rows<int64_t, int64_t>(s);
  }
}

void add_weighted_rows(const WeightedRows& w) {
  const PositionsByRow positions(w.index, w.count, w.rows);
  const Array<int64_t>&starts = positions.starts, &order = positions.order;
  const int64_t rows_per_item = ceil_div(kItem, w.inner * (1 + w.count / w.rows));
  const Loop loop = flat_loop(w.source.numel), target_loop = flat_loop(w.target.numel);
  with_floating_element(w.target.dtype, [&](auto element) {
    parallel_for(ceil_div(w.rows, rows_per_item), [&](int64_t item, int) {
      alignas(64) float buffer[kRun], values[kRun];
      alignas(64) double totals[kRun];
      const int64_t end = min_of(w.rows, (item + 1) * rows_per_item);
      for (int64_t row = item * rows_per_item; row < end; ++row) {
        for (int64_t at = 0; at < w.inner; at += kRun) {
          const int64_t count = min_of(kRun, w.inner - at);
          for (int64_t i = 0; i < count; ++i) totals[i] = 0;
          for (int64_t p = starts[row]; p < starts[row + 1]; ++p) {
            const float weight = w.weights == nullptr ? 1.0f : w.weights[order[p]];
            const int64_t first = order[p] * w.inner + at;
            const float* x =
                load_run<float>(loop, flat_operand(w.source), first, first + count, buffer);
            for (int64_t i = 0; i < count; ++i) values[i] = x[i] * weight;
            round_run(element, values, count);
            for (int64_t i = 0; i < count; ++i) totals[i] += static_cast<double>(values[i]);
          }
          for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(totals[i]);
          const int64_t first = row * w.inner + at;
          store_run<float>(target_loop, flat_operand(w.target), first, first + count, values);
        }
      }
    });
  });
}

void weighted_rows_gradient(const WeightedRows& w) {
  const int64_t rows_per_item = ceil_div(kItem, w.inner);
  const Loop loop = flat_loop(w.source.numel), target_loop = flat_loop(w.target.numel);
  parallel_for(ceil_div(w.count, rows_per_item), [&](int64_t item, int) {
    alignas(64) float gradients[kRun], buffer[kRun], values[kRun];
    const int64_t end = min_of(w.count, (item + 1) * rows_per_item);
    for (int64_t j = item * rows_per_item; j < end; ++j) {
      double total = 0;
      for (int64_t at = 0; at < w.inner; at += kRun) {
        const int64_t count = min_of(kRun, w.inner - at);
        const int64_t from = w.index[j] * w.inner + at, first = j * w.inner + at;
        const float* g =
            load_run<float>(target_loop, flat_operand(w.target), from, from + count, gradients);
        if (w.weights_gradient != nullptr) {
          const float* x =
              load_run<float>(loop, flat_operand(w.source), first, first + count, buffer);
          for (int64_t i = 0; i < count; ++i) values[i] = g[i] * x[i];
          total += join_run<Add<float, double>>(values, count);
        }
        if (w.source_gradient.data == nullptr) continue;
        const float weight = w.weights[j];
        for (int64_t i = 0; i < count; ++i) values[i] = g[i] * weight;
        store_run<float>(loop, flat_operand(w.source_gradient), first, first + count, values);
      }
      if (w.weights_gradient != nullptr) w.weights_gradient[j] = static_cast<float>(total);
    }
  });
}

namespace {

// Whether a comes before b: by value (NaN above everything), then by position, so that the order is
// total.
template <class Compute>
struct Before {
  const Compute* values;
  bool descending;
  bool operator()(int64_t a, int64_t b) const {
    const Compute x = values[a], y = values[b];
    const bool x_above = x > y || (x != x && y == y), y_above = y > x || (y != y && x == x);
    if (x_above != y_above) return descending ? x_above : y_above;
    return a < b;
  }
};

template <class Compute>
void order_rows(const Reduction& r, int64_t count, bool descending, int64_t out_stride) {
  const int64_t length = r.reduced.numel;
  parallel_for(r.kept.numel, [&](int64_t k, int) {
    Array<Compute> values(length);
    Array<int64_t> order(length);
    Operand row{static_cast<char*>(r.x.data) + Position(r.kept, k).offset(r.kept, r.x) *
                                                   static_cast<int64_t>(item_size(r.x.dtype)),
                r.x.dtype,
                {r.reduced_strides[0]}};
    for (int64_t at = 0; at < length; at += kRun) {
      const int64_t end = min_of(at + kRun, length);
      const Compute* loaded = load_run<Compute>(r.reduced, row, at, end, &values[at]);
      if (loaded != &values[at])
        memcpy(&values[at], loaded, static_cast<size_t>(end - at) * sizeof(Compute));
    }
    for (int64_t i = 0; i < length; ++i) order[i] = i;
    const Before<Compute> before{values.data(), descending};
    if (count < length) {
      std::partial_sort(order.begin(), order.begin() + count, order.end(), before);
    } else {
      std::sort(order.begin(), order.end(), before);
    }
    int64_t* out = static_cast<int64_t*>(r.out.data) + Position(r.kept, k).offset(r.kept, r.out);
    for (int64_t i = 0; i < count; ++i) out[i * out_stride] = order[i];
  });
}

}  // namespace

void order(const Reduction& r, int64_t count, bool descending, int64_t out_stride) {
  if (is_floating(r.x.dtype)) {
    order_rows<float>(r, count, descending, out_stride);
  } else {
    order_rows<int64_t>(r, count, descending, out_stride);
  }
}

}  // namespace fms_accel::FMS_ACCEL_ISA
