#include "cpu/few_rows.h"

#include "cpu/gemm_pack.h"
#include "cpu/gemm_simd.h"
#include "cpu/kernel_sources.h"
#include "engine/thread_pool.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

// Sums along k side by side, so that a product does not wait for the one before it.
constexpr int kChains = 4;
// Bytes of the weight that a thread takes at a time.
constexpr int64_t kChunkBytes = 64 << 10;
// How far ahead the weight is asked for, into the second-level cache.
constexpr int64_t kAheadBytes = 6144;
// Elements of the weight below which waking a thread costs more than it brings.
constexpr int64_t kParallelElements = 48 << 10;
constexpr int kPackedRows = 8;  // the purpose of the workspace

// Chunks of the weight's rows, a run of them for each thread: each reads along a stream of memory
// of its own, which the hardware reads ahead. A thread at the end of its run takes the last chunks
// of others. Atomic operations are the compiler's own, since <atomic> may leave functions behind
// that instruction sets would share.
class Chunks {
 public:
  Chunks(int64_t count, int64_t threads)
      : runs_(static_cast<int>(min_of(count, min_of(threads, kMostRuns)))) {
    for (int r = 0; r < runs_; ++r)
      run_[r].left = left_of(count * r / runs_, count * (r + 1) / runs_);
  }

  // A chunk that nobody has; to be called `count` times in all.
  int64_t take(int thread) {
    for (int i = 0;; ++i) {
      uint64_t* const left = &run_[(thread + i) % runs_].left;
      uint64_t old = __atomic_load_n(left, __ATOMIC_RELAXED);
      while (first_of(old) < end_of(old)) {
        const bool own = i == 0;
        const uint64_t rest =
            own ? left_of(first_of(old) + 1, end_of(old)) : left_of(first_of(old), end_of(old) - 1);
        if (__atomic_compare_exchange_n(left, &old, rest, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
          return own ? first_of(old) : end_of(old) - 1;
      }
    }
  }

 private:
  static constexpr int64_t kMostRuns = 32;
  static uint64_t left_of(int64_t first, int64_t end) {
    return static_cast<uint64_t>(end) << 32 | static_cast<uint64_t>(first);
  }
  static int64_t first_of(uint64_t left) { return static_cast<int64_t>(left & 0xffffffff); }
  static int64_t end_of(uint64_t left) { return static_cast<int64_t>(left >> 32); }

  struct alignas(64) Run {
    uint64_t left;  // what nobody has taken: see left_of
  };
  int runs_;
  Run run_[kMostRuns];
};

// x in the type that is multiplied, row after row, zeros behind its end.
struct PackedRows {
  const uint32_t* words;
  int64_t stride;
};

FMS_ACCEL_INLINE Floats load_words(const uint32_t* p) {
  return load_floats(reinterpret_cast<const float*>(p));
}

// Sums of kRows rows of x with one row of the weight. One at a time: the hardware reads ahead along
// one stream of memory better than along several.
template <class Step, class T, int kRows>
FMS_ACCEL_INLINE void multiply_row(const PackedRows& x, const T* weight, int64_t k,
                                   float (&result)[kRows]) {
  constexpr int64_t kVector = kLanes * Step::kValues;
  Floats sum[kRows][kChains];
  FMS_ACCEL_UNROLL
  for (int i = 0; i < kRows; ++i) {
    FMS_ACCEL_UNROLL
    for (int c = 0; c < kChains; ++c) sum[i][c] = zero_floats();
  }
  const auto multiply = [&](int64_t at, int chain, const auto& load)
      __attribute__((always_inline)) {
    const Floats w = (Floats)load(weight + at);
    prefetch_second_level(reinterpret_cast<const char*>(weight + at) + kAheadBytes);
    FMS_ACCEL_UNROLL
    for (int i = 0; i < kRows; ++i) {
      sum[i][chain] = Step::multiply_add(load_words(x.words + i * x.stride + at / Step::kValues), w,
                                         sum[i][chain]);
    }
  };
  const auto whole = [](const T* p) __attribute__((always_inline)) { return Step::load(p); };
  int64_t at = 0;
  for (; at + kChains * kVector <= k; at += kChains * kVector) {
    FMS_ACCEL_UNROLL
    for (int c = 0; c < kChains; ++c) multiply(at + c * kVector, c, whole);
  }
  FMS_ACCEL_UNROLL
  for (int c = 0; c < kChains; ++c) {
    const int64_t from = at + c * kVector;
    if (from + kVector <= k) {
      multiply(from, c, whole);
    } else if (from < k) {
      const int rest = static_cast<int>(k - from);
      multiply(
          from,
          c, [rest](const T* p) __attribute__((always_inline)) { return Step::load(p, rest); });
    }
  }
  FMS_ACCEL_UNROLL
  for (int i = 0; i < kRows; ++i) {
    result[i] = sum_of_lanes(add(add(sum[i][0], sum[i][2]), add(sum[i][1], sum[i][3])));
  }
}

template <class Y, class Bias>
void store_results(const FewRowsArguments& p, int64_t row, int64_t column, int64_t count,
                   const float* values) {
  Y* y = static_cast<Y*>(p.y) + row * p.y_row_stride + column;
  const Bias* bias = p.bias == nullptr ? nullptr : static_cast<const Bias*>(p.bias) + column;
  for (int64_t j = 0; j < count; j += kLanes) {
    const int some = static_cast<int>(min_of(kLanes, count - j));
    Floats v = load_floats(values + j, some);
    if (bias != nullptr) v = add(v, load_floats(bias + j, some));
    store_floats(y + j, v, some);
  }
}

template <class Step, class T, int kRows>
void multiply_columns(const FewRowsArguments& p, const PackedRows& x, int64_t begin, int64_t end) {
  constexpr int64_t kBuffer = 64;
  // What fits into registers together with the chains.
  constexpr int kTogether = kRows < 4 ? kRows : 4;
  alignas(64) float values[kRows][kBuffer];
  for (int64_t first = begin; first < end; first += kBuffer) {
    const int64_t count = min_of(kBuffer, end - first);
    for (int64_t j = 0; j < count; ++j) {
      const T* weight = static_cast<const T*>(p.weight) + (first + j) * p.weight_row_stride;
      for (int row = 0; row < kRows; row += kTogether) {
        float result[kTogether];
        const PackedRows some = {x.words + row * x.stride, x.stride};
        multiply_row<Step, T, kTogether>(some, weight, p.k, result);
        for (int i = 0; i < kTogether; ++i) values[row + i][j] = result[i];
      }
    }
    for (int64_t row = 0; row < p.m; ++row) {
      with_floating(p.y_dtype, [&](auto y) {
        with_floating(p.bias_dtype, [&](auto bias) {
          store_results<decltype(y), decltype(bias)>(p, row, first, count, values[row]);
        });
      });
    }
  }
}

template <class Step, class X>
void convert_row(const X* x, int64_t k, uint32_t* to) {
  constexpr int64_t kVector = kLanes * Step::kValues;
  int64_t at = 0;
  for (; at + kVector <= k; at += kVector) store_words(to + at / Step::kValues, Step::load(x + at));
  if (at < k) store_words(to + at / Step::kValues, Step::load(x + at, static_cast<int>(k - at)));
}

template <class Step, class T, int kRows>
void multiply_rows(const FewRowsArguments& p) {
  const int64_t steps = step_count(p.compute, p.k), stride = divide_up(steps + kLanes, 16) * 16;
  auto* const words = static_cast<uint32_t*>(
      workspace(current_thread(), kPackedRows, 4 * static_cast<size_t>(stride * kRows)));
  memset(words, 0, 4 * static_cast<size_t>(stride * kRows));
  with_floating(p.x_dtype, [&](auto element) {
    for (int64_t i = 0; i < p.m; ++i) {
      const auto* const row = static_cast<const decltype(element)*>(p.x) + i * p.x_row_stride;
      convert_row<Step>(row, p.k, words + i * stride);
    }
  });
  const PackedRows x = {words, stride};
  const int64_t threads = p.n * p.k < kParallelElements ? 1 : usable_threads();
  if (threads == 1) return multiply_columns<Step, T, kRows>(p, x, 0, p.n);
  const int64_t row_bytes = max_of(1, p.k) * static_cast<int64_t>(sizeof(T));
  const int64_t together = clamp_of(kChunkBytes / row_bytes, 1, divide_up(p.n, threads));
  const int64_t count = divide_up(p.n, together);
  Chunks chunks(count, threads);
  parallel_for(count, [&](int64_t, int thread) {
    const int64_t first = chunks.take(thread) * together;
    multiply_columns<Step, T, kRows>(p, x, first, min_of(p.n, first + together));
  });
}

}  // namespace

void few_rows(const FewRowsArguments& p) {
  with_step(p.compute, [&](auto step) {
    with_floating(p.weight_dtype, [&](auto element) {
      using Step = decltype(step);
      using T = decltype(element);
      if (p.m == 1) return multiply_rows<Step, T, 1>(p);
      if (p.m == 2) return multiply_rows<Step, T, 2>(p);
      if (p.m <= 4) return multiply_rows<Step, T, 4>(p);
      multiply_rows<Step, T, kMostFewRows>(p);
    });
  });
}

}  // namespace fms_accel::FMS_ACCEL_ISA
