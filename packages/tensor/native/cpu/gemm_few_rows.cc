#include "cpu/gemm_few_rows.h"

#include "cpu/gemm_pack.h"
#include "cpu/gemm_plan.h"
#include "cpu/gemm_prepack.h"
#include "cpu/gemm_sink.h"
#include "cpu/kernel_sources.h"
#include "engine/thread_pool.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

// Beyond as many rows packing B pays.
constexpr int64_t kMostRows = 8;
// Elements of B in one item: a few microseconds of reading.
constexpr int64_t kItemElements = 64 << 10;
// Elements of B below which waking a thread costs more than it brings.
constexpr int64_t kParallelElements = 32 << 10;

constexpr int kPackedRows = 8;  // the purpose of the workspace for A, as of gemm.cc's shared A

// One block of k of A, packed: word[step * kRows + row].
struct Rows {
  const uint32_t* words;
  int64_t steps, k0, kc;
};

FMS_ACCEL_INLINE Floats broadcast_word(const uint32_t* p) {
  float word;
  memcpy(&word, p, 4);
  return broadcast(word);
}

// B with k contiguous: kLanes rows of memory (columns of B) at a time are transposed in registers.
template <class Step, class T, int kRows>
struct AlongK {
  static constexpr int64_t kBlock = kLanes * Step::kValues;

  // The rows of memory of kLanes columns; those that do not exist repeat the first, their sums are
  // dropped.
  static void run(const DenseOperand& b, int64_t first, int64_t columns, const Rows& a,
                  Floats (&sum)[kRows]) {
    const T* const base = static_cast<const T*>(b.data) + first * b.lane_stride + a.k0;
    const T* rows[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) rows[i] = base + (i < columns ? i : 0) * b.lane_stride;
    // What follows in memory is read next.
    const int64_t ahead = kLanes * b.lane_stride;
    FMS_ACCEL_UNROLL
    for (int i = 0; i < kRows; ++i) sum[i] = zero_floats();
    const uint32_t* word = a.words;
    int64_t k = 0;
    for (; k + kBlock <= a.kc; k += kBlock) {
      Words r[kLanes];
      FMS_ACCEL_UNROLL
      for (int i = 0; i < kLanes; ++i) {
        r[i] = Step::load(rows[i] + k);
        prefetch_second_level(rows[i] + k + ahead);
      }
      transpose(r);
      FMS_ACCEL_UNROLL
      for (int s = 0; s < kLanes; ++s, word += kRows) {
        FMS_ACCEL_UNROLL
        for (int i = 0; i < kRows; ++i)
          sum[i] = Step::multiply_add(broadcast_word(word + i), (Floats)r[s], sum[i]);
      }
    }
    if (k < a.kc) {
      Words r[kLanes];
      FMS_ACCEL_UNROLL
      for (int i = 0; i < kLanes; ++i) r[i] = Step::load(rows[i] + k, static_cast<int>(a.kc - k));
      transpose(r);
      alignas(64) uint32_t block[kLanes][kLanes];
      FMS_ACCEL_UNROLL
      for (int i = 0; i < kLanes; ++i) store_words(block[i], r[i]);
      for (int64_t s = k / Step::kValues; s < a.steps; ++s, word += kRows) {
        const Floats column =
            load_floats(reinterpret_cast<const float*>(block[s - k / Step::kValues]));
        FMS_ACCEL_UNROLL
        for (int i = 0; i < kRows; ++i)
          sum[i] = Step::multiply_add(broadcast_word(word + i), column, sum[i]);
      }
    }
  }
};

// B with columns contiguous.
template <class Step, class T, int kRows>
struct AcrossK {
  static void run(const DenseOperand& b, int64_t first, int64_t columns, const Rows& a,
                  Floats (&sum)[kRows]) {
    const T* row = static_cast<const T*>(b.data) + first + a.k0 * b.k_stride;
    const int count = static_cast<int>(min_of(columns, kLanes));
    FMS_ACCEL_UNROLL
    for (int i = 0; i < kRows; ++i) sum[i] = zero_floats();
    const uint32_t* word = a.words;
    for (int64_t k = 0; k < a.kc; k += Step::kValues, row += Step::kValues * b.k_stride) {
      Words column;
      if constexpr (Step::kValues == 2) {
        const T* const next = k + 1 < a.kc ? row + b.k_stride : nullptr;
        column = next != nullptr && count == kLanes ? Step::interleave(row, next)
                                                    : Step::interleave(row, next, count);
      } else {
        column = count == kLanes ? Step::load(row) : Step::load(row, count);
      }
      FMS_ACCEL_UNROLL
      for (int i = 0; i < kRows; ++i, ++word)
        sum[i] = Step::multiply_add(broadcast_word(word), (Floats)column, sum[i]);
    }
  }
};

// A in panels of kRows, the rows that do not exist 0.
template <int kRows>
const uint32_t* pack_rows(const GemmArguments& g, const KBlocks& blocks, int64_t block_steps) {
  const auto words = static_cast<size_t>(blocks.count * block_steps * kRows);
  auto* const to = static_cast<uint32_t*>(workspace(current_thread(), kPackedRows, 4 * words));
  for (int64_t block = 0; block < blocks.count; ++block) {
    pack_source(g.compute, g.a, g.k,
                {to + block * block_steps * kRows, 0, g.m, kRows, kRows, blocks.first(block),
                 blocks.length(block)});
  }
  return to;
}

template <template <class, class, int> class Kernel, class Step, class T, int kRows>
void multiply_rows(const GemmArguments& g) {
  const KBlocks blocks = k_blocks(g.compute, g.k);
  const int64_t block_steps = step_count(g.compute, blocks.size);
  const uint32_t* const packed = pack_rows<kRows>(g, blocks, block_steps);
  const int64_t groups = divide_up(g.n, kTileColumns);
  const int64_t together =
      g.n * g.k < kParallelElements || usable_threads() == 1
          ? groups
          : clamp_of(kItemElements / (kTileColumns * g.k), 1, divide_up(groups, usable_threads()));
  parallel_for(divide_up(groups, together), [&](int64_t item, int) {
    const int64_t end = min_of(groups, (item + 1) * together);
    for (int64_t group = item * together; group < end; ++group) {
      alignas(64) float values[kMostRows * kTileColumns], sums[kMostRows * kTileColumns];
      const int64_t column = group * kTileColumns, columns = min_of(kTileColumns, g.n - column);
      for (int64_t block = 0; block < blocks.count; ++block) {
        const Rows a = {packed + block * block_steps * kRows,
                        step_count(g.compute, blocks.length(block)), blocks.first(block),
                        blocks.length(block)};
        for (int64_t j = 0; j < columns; j += kLanes) {
          Floats sum[kRows];
          Kernel<Step, T, kRows>::run(g.b.dense, column + j, columns - j, a, sum);
          FMS_ACCEL_UNROLL
          for (int i = 0; i < kRows; ++i) store_floats(values + i * kTileColumns + j, sum[i]);
        }
        finish_tile(g,
                    {0, g.m, column, columns, blocks.count > 1 ? sums : nullptr, kTileColumns,
                     block == 0, block == blocks.count - 1},
                    values);
      }
    }
  });
}

template <template <class, class, int> class Kernel>
void multiply_with(const GemmArguments& g) {
  with_step(g.compute, [&](auto step) {
    with_floating(g.b.dense.dtype, [&](auto element) {
      using Step = decltype(step);
      using T = decltype(element);
      if (g.m == 1) return multiply_rows<Kernel, Step, T, 1>(g);
      if (g.m == 2) return multiply_rows<Kernel, Step, T, 2>(g);
      if (g.m <= 4) return multiply_rows<Kernel, Step, T, 4>(g);
      multiply_rows<Kernel, Step, T, kMostRows>(g);
    });
  });
}

bool is_along_k(const DenseOperand& b) { return b.k_stride == 1; }

}  // namespace

bool has_few_rows(const GemmArguments& g) {
  const DenseOperand& b = g.b.dense;
  return g.m <= kMostRows && g.b.pack == nullptr && g.b.prepacked == nullptr && g.b.tail_k == 0 &&
         b.lane_index == nullptr && b.k_index == nullptr && (is_along_k(b) || b.lane_stride == 1);
}

void multiply_few_rows(const GemmArguments& g) {
  if (is_along_k(g.b.dense))
    multiply_with<AlongK>(g);
  else
    multiply_with<AcrossK>(g);
}

}  // namespace fms_accel::FMS_ACCEL_ISA
