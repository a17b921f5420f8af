// Reductions. Floats are added in float64, so a sum of any length is rounded once; integers are
// added in int64. Blocks are cut by shape alone, and their results are combined in order.

#include "cpu/array.h"
#include "cpu/kernel_sources.h"
#include "cpu/runs.h"
#include "engine/thread_pool.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

constexpr int64_t kBlock = 64 * kRun;  // a longer row is split into several items
constexpr int64_t kPanel = 512;        // columns that are reduced side by side
constexpr int64_t kPanelRows = 256;    // rows of one item, where there are few columns
constexpr int64_t kFewPanels = 32;
constexpr int64_t kShortRow = 32;  // shorter rows are reduced side by side, as columns

// The reduced elements of kept position `k` as an operand of the loop `reduced`.
Operand row_of(const Reduction& r, int64_t k) {
  Operand row;
  row.dtype = r.x.dtype;
  row.data = static_cast<char*>(r.x.data) +
             Position(r.kept, k).offset(r.kept, r.x) * static_cast<int64_t>(item_size(r.x.dtype));
  for (int d = 0; d < r.reduced.ndim; ++d) row.strides[d] = r.reduced_strides[d];
  return row;
}

template <class Op>
typename Op::Total join_row(const Reduction& r, const Operand& row, int64_t begin, int64_t end) {
  using Compute = typename Op::Compute;
  using Total = typename Op::Total;
  alignas(64) Compute buffer[kRun];
  Total total = Op::template neutral<Total>();
  for (int64_t at = begin; at < end; at += kRun) {
    const int64_t run_end = min_of(at + kRun, end);
    total = Op::join(
        total, join_run<Op>(load_run<Compute>(r.reduced, row, at, run_end, buffer), run_end - at));
  }
  return total;
}

// Stores results of kept positions [begin, begin + count), count <= kRun.
template <class Op, class Finish>
void store_totals(const Reduction& r, int64_t begin, int64_t count,
                  const typename Op::Total* totals, const Finish& finish) {
  using Compute = typename Op::Compute;
  alignas(64) Compute results[kRun];
  for (int64_t i = 0; i < count; ++i) results[i] = static_cast<Compute>(finish(totals[i]));
  store_run<Compute>(r.kept, r.out, begin, begin + count, results);
}

// Each kept position on its own.
template <class Op, class Finish>
void reduce_rows(const Reduction& r, const Finish& finish) {
  using Total = typename Op::Total;
  const int64_t rows = r.kept.numel, length = r.reduced.numel;
  if (length <= kBlock) {
    const int64_t rows_per_item = length >= kItem ? 1 : min_of(kRun, ceil_div(kItem, length));
    parallel_for(ceil_div(rows, rows_per_item), [&](int64_t item, int) {
      Total totals[kRun];
      const int64_t begin = item * rows_per_item, end = min_of(rows, begin + rows_per_item);
      for (int64_t k = begin; k < end; ++k)
        totals[k - begin] = join_row<Op>(r, row_of(r, k), 0, length);
      store_totals<Op>(r, begin, end - begin, totals, finish);
    });
    return;
  }
  const int64_t blocks = ceil_div(length, kBlock);
  Array<Total> partial(rows * blocks);
  parallel_for(rows * blocks, [&](int64_t item, int) {
    const int64_t begin = item % blocks * kBlock;
    partial[item] =
        join_row<Op>(r, row_of(r, item / blocks), begin, min_of(length, begin + kBlock));
  });
  for (int64_t k = 0; k < rows; ++k) {
    Total total = partial[k * blocks];
    for (int64_t b = 1; b < blocks; ++b) total = Op::join(total, partial[k * blocks + b]);
    store_totals<Op>(r, k, 1, &total, finish);
  }
}

// Panels of kept positions side by side, reduced position after reduced position.
template <class Op, class Finish>
void reduce_columns(const Reduction& r, const Finish& finish) {
  using Compute = typename Op::Compute;
  using Total = typename Op::Total;
  const int64_t columns = r.kept.numel, rows = r.reduced.numel;
  const int64_t panels = ceil_div(columns, kPanel);
  const int64_t blocks = panels < kFewPanels ? ceil_div(rows, kPanelRows) : 1;
  const int64_t block_rows = blocks > 1 ? kPanelRows : rows;
  Operand along_reduced;
  for (int d = 0; d < r.reduced.ndim; ++d) along_reduced.strides[d] = r.reduced_strides[d];

  const auto reduce_block = [&](int64_t begin, int64_t end, int64_t row_begin, int64_t row_end,
                                Total* totals) {
    alignas(64) Compute buffer[kPanel];
    const int64_t count = end - begin;
    for (int64_t i = 0; i < count; ++i) totals[i] = Op::template neutral<Total>();
    Position position(r.reduced, row_begin);
    Operand columns_of_row = r.x;
    for (int64_t row = row_begin; row < row_end; ++row) {
      columns_of_row.data =
          static_cast<char*>(r.x.data) +
          position.offset(r.reduced, along_reduced) * static_cast<int64_t>(item_size(r.x.dtype));
      const Compute* values = load_run<Compute>(r.kept, columns_of_row, begin, end, buffer);
      for (int64_t i = 0; i < count; ++i)
        totals[i] = Op::join(totals[i], static_cast<Total>(values[i]));
      position.advance(r.reduced, 1);
    }
  };

  if (blocks == 1) {
    parallel_for(panels, [&](int64_t panel, int) {
      alignas(64) Total totals[kPanel];
      const int64_t begin = panel * kPanel, end = min_of(columns, begin + kPanel);
      reduce_block(begin, end, 0, rows, totals);
      store_totals<Op>(r, begin, end - begin, totals, finish);
    });
    return;
  }
  Array<Total> partial(blocks * columns);
  parallel_for(panels * blocks, [&](int64_t item, int) {
    const int64_t block = item / panels, begin = item % panels * kPanel;
    reduce_block(begin, min_of(columns, begin + kPanel), block * block_rows,
                 min_of(rows, (block + 1) * block_rows), &partial[block * columns + begin]);
  });
  parallel_for(panels, [&](int64_t panel, int) {
    const int64_t begin = panel * kPanel, end = min_of(columns, begin + kPanel);
    Total* totals = &partial[begin];
    for (int64_t b = 1; b < blocks; ++b) {
      const Total* other = &partial[b * columns + begin];
      for (int64_t i = 0; i < end - begin; ++i) totals[i] = Op::join(totals[i], other[i]);
    }
    store_totals<Op>(r, begin, end - begin, totals, finish);
  });
}

template <class Op, class Finish>
void reduce_by(const Reduction& r, const Finish& finish) {
  const bool columns_lie_together = r.x.strides[r.kept.ndim - 1] == 1 &&
                                    r.kept.shape[r.kept.ndim - 1] >= 8 &&
                                    r.reduced_strides[r.reduced.ndim - 1] != 1;
  if (columns_lie_together || (r.reduced.numel <= kShortRow && r.kept.numel > 1)) {
    reduce_columns<Op>(r, finish);
  } else {
    reduce_rows<Op>(r, finish);
  }
}

template <class Total>
struct Same {
  Total operator()(Total value) const { return value; }
};

}  // namespace

void reduce(ReduceOp op, const Reduction& r) {
  const bool floating = is_floating(r.x.dtype);
  switch (op) {
    case ReduceOp::kSum:
      return floating ? reduce_by<Add<float, double>>(r, Same<double>())
                      : reduce_by<Add<int64_t, int64_t>>(r, Same<int64_t>());
    case ReduceOp::kMean: {
      const auto count = static_cast<double>(r.reduced.numel);
      return reduce_by<Add<float, double>>(r, [=](double total) { return total / count; });
    }
    case ReduceOp::kMaximum:
      return floating ? reduce_by<Largest<float>>(r, Same<float>())
                      : reduce_by<Largest<int64_t>>(r, Same<int64_t>());
    case ReduceOp::kMinimum:
      return floating ? reduce_by<Smallest<float>>(r, Same<float>())
                      : reduce_by<Smallest<int64_t>>(r, Same<int64_t>());
  }
}

namespace {

// The index of the first largest value of a row; the first NaN where there is one.
template <class Compute>
int64_t largest_of_row(const Reduction& r, const Operand& row) {
  alignas(64) Compute buffer[kRun];
  Compute best = 0;
  int64_t index = -1;
  for (int64_t at = 0; at < r.reduced.numel; at += kRun) {
    const int64_t count = min_of(kRun, r.reduced.numel - at);
    const Compute* values = load_run<Compute>(r.reduced, row, at, at + count, buffer);
    const Compute largest = join_run<Largest<Compute>>(values, count);
    if (index >= 0 && !(largest > best) && largest == largest) continue;
    int64_t i = 0;
    while (values[i] != largest && values[i] == values[i]) ++i;
    best = largest;
    index = at + i;
    if (best != best) break;
  }
  return index;
}

}  // namespace

void argmax(const Reduction& r) {
  const int64_t rows_per_item = min_of(kRun, ceil_div(kItem, r.reduced.numel));
  parallel_for(ceil_div(r.kept.numel, rows_per_item), [&](int64_t item, int) {
    int64_t results[kRun];
    const int64_t begin = item * rows_per_item, end = min_of(r.kept.numel, begin + rows_per_item);
    for (int64_t k = begin; k < end; ++k) {
      results[k - begin] = is_floating(r.x.dtype) ? largest_of_row<float>(r, row_of(r, k))
                                                  : largest_of_row<int64_t>(r, row_of(r, k));
    }
    store_run<int64_t>(r.kept, r.out, begin, end, results);
  });
}

void logsumexp(const Reduction& r) {
  const int64_t rows_per_item = min_of(kRun, ceil_div(kItem, r.reduced.numel));
  parallel_for(ceil_div(r.kept.numel, rows_per_item), [&](int64_t item, int) {
    float results[kRun];
    const int64_t begin = item * rows_per_item, end = min_of(r.kept.numel, begin + rows_per_item);
    for (int64_t k = begin; k < end; ++k)
      results[k - begin] = static_cast<float>(sum_exponentials(r.reduced, row_of(r, k)).log());
    store_run<float>(r.kept, r.out, begin, end, results);
  });
}

namespace {

// Row after row: for rows that lie together in memory.
template <class Compute, class Total>
void accumulate_rows(const Reduction& r, int64_t out_stride, bool reverse) {
  const int64_t length = r.reduced.numel, rows_per_item = ceil_div(kItem, length);
  const int64_t out_item = static_cast<int64_t>(item_size(r.out.dtype));
  parallel_for(ceil_div(r.kept.numel, rows_per_item), [&](int64_t item, int) {
    alignas(64) Compute buffer[kRun], results[kRun];
    const int64_t end = min_of(r.kept.numel, (item + 1) * rows_per_item);
    for (int64_t k = item * rows_per_item; k < end; ++k) {
      const Operand row = row_of(r, k);
      const int64_t offset = Position(r.kept, k).offset(r.kept, r.out) * out_item;
      const Operand out{static_cast<char*>(r.out.data) + offset, r.out.dtype, {out_stride}};
      Total total = 0;
      for (int64_t done = 0; done < length; done += kRun) {
        const int64_t count = min_of(kRun, length - done);
        const int64_t at = reverse ? length - done - count : done;
        const Compute* values = load_run<Compute>(r.reduced, row, at, at + count, buffer);
        for (int64_t step = 0; step < count; ++step) {
          const int64_t i = reverse ? count - 1 - step : step;
          total = Add<Compute, Total>::join(total, static_cast<Total>(values[i]));
          results[i] = static_cast<Compute>(total);
        }
        store_run<Compute>(r.reduced, out, at, at + count, results);
      }
    }
  });
}

// Panels of lines side by side: for lines whose neighbours lie together.
template <class Compute, class Total>
void accumulate_columns(const Reduction& r, int64_t out_stride, bool reverse) {
  const int64_t length = r.reduced.numel, stride = r.reduced_strides[0];
  const int64_t x_item = static_cast<int64_t>(item_size(r.x.dtype)),
                out_item = static_cast<int64_t>(item_size(r.out.dtype));
  parallel_for(ceil_div(r.kept.numel, kPanel), [&](int64_t panel, int) {
    alignas(64) Compute buffer[kPanel], results[kPanel];
    alignas(64) Total totals[kPanel] = {};
    const int64_t begin = panel * kPanel, end = min_of(r.kept.numel, begin + kPanel);
    Operand x = r.x, out = r.out;
    for (int64_t step = 0; step < length; ++step) {
      const int64_t at = reverse ? length - 1 - step : step;
      x.data = static_cast<char*>(r.x.data) + at * stride * x_item;
      out.data = static_cast<char*>(r.out.data) + at * out_stride * out_item;
      const Compute* values = load_run<Compute>(r.kept, x, begin, end, buffer);
      for (int64_t i = 0; i < end - begin; ++i) {
        totals[i] = Add<Compute, Total>::join(totals[i], static_cast<Total>(values[i]));
        results[i] = static_cast<Compute>(totals[i]);
      }
      store_run<Compute>(r.kept, out, begin, end, results);
    }
  });
}

}  // namespace

void cumsum(const Reduction& r, int64_t out_stride, bool reverse) {
  const bool rows = r.reduced_strides[0] <= r.x.strides[r.kept.ndim - 1] || r.kept.numel == 1;
  if (is_floating(r.x.dtype)) {
    rows ? accumulate_rows<float, double>(r, out_stride, reverse)
         : accumulate_columns<float, double>(r, out_stride, reverse);
  } else {
    rows ? accumulate_rows<int64_t, int64_t>(r, out_stride, reverse)
         : accumulate_columns<int64_t, int64_t>(r, out_stride, reverse);
  }
}

}  // namespace fms_accel::FMS_ACCEL_ISA
