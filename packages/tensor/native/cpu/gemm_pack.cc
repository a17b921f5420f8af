#include "cpu/gemm_pack.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

// How far ahead packing along k asks for each row, into the second-level cache: more rows are read
// side by side than the hardware follows, and than the first level has room for requests.
constexpr int64_t kAheadBytes = 512;
// k that packing across k does for all panels before the next: the source is then read along its
// rows, page by page.
constexpr int64_t kRunAcross = 16;

template <class T>
struct Elements {
  const DenseOperand& dense;
  const T* lane(int64_t i) const {
    return static_cast<const T*>(dense.data) +
           (dense.lane_index ? dense.lane_index[i] : i) * dense.lane_stride;
  }
  const T* along(int64_t k) const {
    return static_cast<const T*>(dense.data) +
           (dense.k_index ? dense.k_index[k] : k) * dense.k_stride;
  }
};

template <class Step>
FMS_ACCEL_INLINE int64_t steps_of(int64_t kc) {
  return divide_up(kc, Step::kValues);
}

// Steps at the end of a panel that whole vectors must not be stored to: what a vector holds beyond
// a panel narrower than itself falls on the next steps, which are written later, and must not fall
// behind the last one.
FMS_ACCEL_INLINE int64_t exact_steps(int64_t width) {
  return width >= kLanes ? 0 : divide_up(kLanes - width, width);
}

// One panel of a source whose k is contiguous: blocks of kLanes lanes x kLanes steps are transposed
// in registers.
template <class Step, class T>
void pack_panel_along_k(const Elements<T>& from, uint32_t* to, int64_t first, int64_t count,
                        int64_t width, int64_t k0, int64_t kc) {
  constexpr int64_t kBlock = kLanes * Step::kValues,
                    kAhead = kAheadBytes / static_cast<int64_t>(sizeof(T));
  const int64_t steps = steps_of<Step>(kc), whole_steps = steps - exact_steps(width);
  // Near the end of the rows, the next rows' beginnings are asked for.
  const int64_t to_next_rows = kLanes * from.dense.lane_stride - kc;
  for (int64_t w = 0; w < width; w += kLanes) {
    const int64_t lanes = min_of(width - w, kLanes), have = clamp_of(count - w, 0, kLanes);
    const bool no_zeros =
        have >= lanes;  // vectors behind the last lane of a panel may then hold anything
    const T* rows[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) rows[i] = from.lane(first + (i < have ? w + i : 0)) + k0;
    for (int64_t k = 0; k < kc; k += kBlock) {
      Words r[kLanes];
      if (no_zeros && kc - k >= kBlock) {
        const int64_t ahead = k + kAhead < kc ? k + kAhead : k + kAhead + to_next_rows;
        FMS_ACCEL_UNROLL
        for (int i = 0; i < kLanes; ++i) {
          r[i] = Step::load(rows[i] + k);
          prefetch_second_level(rows[i] + ahead);
          if constexpr (kBlock * sizeof(T) > 64)
            prefetch_second_level(rows[i] + ahead + 64 / sizeof(T));
        }
      } else if (kc - k >= kBlock) {
        for (int i = 0; i < kLanes; ++i) r[i] = i < have ? Step::load(rows[i] + k) : zero_words();
      } else {
        for (int i = 0; i < kLanes; ++i)
          r[i] = i < have ? Step::load(rows[i] + k, static_cast<int>(kc - k)) : zero_words();
      }
      transpose(r);
      const int64_t s = k / Step::kValues;
      uint32_t* at = to + s * width + w;
      if (s + kLanes <= whole_steps) {
        FMS_ACCEL_UNROLL
        for (int i = 0; i < kLanes; ++i) store_words(at + i * width, r[i]);
      } else {
        alignas(64) uint32_t block[kLanes][kLanes];
        for (int i = 0; i < kLanes; ++i) store_words(block[i], r[i]);
        for (int64_t i = 0; i < kLanes && s + i < steps; ++i)
          memcpy(at + i * width, block[i], 4 * static_cast<size_t>(lanes));
      }
    }
  }
}

// kLanes lanes of one step of a source whose lanes are contiguous: row k, and k + 1 where a step
// holds two.
template <class Step, class T>
FMS_ACCEL_INLINE Words load_across(const T* low, const T* high) {
  if constexpr (Step::kValues == 2)
    return Step::interleave(low, high);
  else
    return Step::load(low);
}
template <class Step, class T>
FMS_ACCEL_INLINE Words load_across(const T* low, const T* high, int count) {
  if constexpr (Step::kValues == 2)
    return Step::interleave(low, high, count);
  else
    return Step::load(low, count);
}

// `readable` lanes may be read from `first` on; `run_ahead` k further on, rows are asked for.
template <class Step, class T>
void pack_panel_across_k(const Elements<T>& from, uint32_t* to, int64_t first, int64_t count,
                         int64_t width, int64_t readable, int64_t k0, int64_t kc,
                         int64_t steps_behind, int64_t run_ahead) {
  const int64_t whole_k = Step::kValues == 2 ? kc / 2 * 2 : kc;
  const int64_t whole_steps =
      whole_k / Step::kValues + min_of(0, steps_behind - exact_steps(width));
  const int64_t vectors = divide_up(width, kLanes);
  int64_t k = 0;
  if (readable >= vectors * kLanes && (count >= width)) {  // whole vectors
    for (; k / Step::kValues < whole_steps; k += Step::kValues, to += width) {
      const T* low = from.along(k0 + k) + first;
      const T* high = Step::kValues == 2 ? from.along(k0 + k + 1) + first : nullptr;
      if (run_ahead > 0) {
        const T* ahead = from.along(k0 + k + run_ahead) + first;
        for (int64_t bytes = 0; bytes < width * static_cast<int64_t>(sizeof(T)); bytes += 64) {
          prefetch_second_level(reinterpret_cast<const char*>(ahead) + bytes);
          if constexpr (Step::kValues == 2) {
            prefetch_second_level(
                reinterpret_cast<const char*>(from.along(k0 + k + run_ahead + 1) + first) + bytes);
          }
        }
      }
      if (width == kTileColumns) {
        if constexpr (Step::kValues == 2 && kTileVectors == 2 && __is_same(T, Bf16)) {
          Step::interleave_two(low, high, to);
        } else {
          FMS_ACCEL_UNROLL
          for (int v = 0; v < kTileVectors; ++v) {
            store_words(to + v * kLanes, load_across<Step>(low + v * kLanes, high + v * kLanes));
          }
        }
      } else {
        store_words(to, load_across<Step>(low, high));
      }
    }
  }
  for (; k < kc; k += Step::kValues, to += width) {
    const T* low = from.along(k0 + k) + first;
    const T* high = Step::kValues == 2 && k + 1 < kc ? from.along(k0 + k + 1) + first : nullptr;
    for (int64_t w = 0; w < width; w += kLanes) {
      const int have = static_cast<int>(clamp_of(count - w, 0, kLanes));
      const Words words =
          have == 0 ? zero_words()
                    : load_across<Step>(low + w, high == nullptr ? nullptr : high + w, have);
      store_words(to + w, words, static_cast<int>(min_of(width - w, kLanes)));
    }
  }
}

// Neither is contiguous: gather a vector's worth of values along k for each lane, then go on as if
// k were contiguous.
template <class Step, class T>
void pack_panel_strided(const Elements<T>& from, uint32_t* to, int64_t first, int64_t count,
                        int64_t width, int64_t k0, int64_t kc) {
  for (int64_t lane = 0; lane < width; ++lane) {
    const T* base = lane < count ? from.lane(first + lane) : nullptr;
    for (int64_t k = 0; k < kc; k += kLanes * Step::kValues) {
      T values[kLanes * Step::kValues] = {};
      const int64_t left = min_of(kc - k, kLanes * Step::kValues);
      for (int64_t i = 0; base != nullptr && i < left; ++i) {
        values[i] = base[(from.dense.k_index ? from.dense.k_index[k0 + k + i] : k0 + k + i) *
                         from.dense.k_stride];
      }
      alignas(64) uint32_t words[kLanes];
      store_words(words, Step::load(values));
      for (int64_t s = 0; s < steps_of<Step>(left); ++s)
        to[(k / Step::kValues + s) * width + lane] = words[s];
    }
  }
}

template <class Step, class T>
void pack_elements(const DenseOperand& dense, const GemmPanels& p) {
  const Elements<T> from{dense};
  const int64_t steps = steps_of<Step>(p.kc), panel_steps = max_of(steps, p.panel_steps);
  const bool along = dense.k_stride == 1 && dense.k_index == nullptr;
  const bool across = !along && dense.lane_stride == 1 && dense.lane_index == nullptr;
  const int64_t run = across ? kRunAcross : p.kc;
  for (int64_t k = 0; k < p.kc; k += run) {
    const int64_t kc = min_of(run, p.kc - k);
    for (int64_t j = 0; j < p.count; j += p.width) {
      const int64_t left = p.count - j;
      const int64_t width = left > p.width ? p.width : p.last_width;
      const int64_t s = k / Step::kValues;
      uint32_t* to = p.to + j * panel_steps + (p.first_step + s) * width;
      if (along) {
        pack_panel_along_k<Step>(from, to, p.first + j, min_of(left, width), width, p.k0 + k, kc);
      } else if (across) {
        pack_panel_across_k<Step>(from, to, p.first + j, min_of(left, width), width, left, p.k0 + k,
                                  kc, steps - s - steps_of<Step>(kc),
                                  k + 2 * run <= p.kc ? run : 0);
      } else {
        pack_panel_strided<Step>(from, to, p.first + j, min_of(left, width), width, p.k0 + k, kc);
      }
    }
  }
}

}  // namespace

void pack_dense(Compute compute, const DenseOperand& dense, const GemmPanels& panels) {
  with_step(compute, [&](auto step) {
    with_floating(dense.dtype, [&](auto element) {
      pack_elements<decltype(step), decltype(element)>(dense, panels);
    });
  });
}

void prefetch_dense(const DenseOperand& dense, int64_t first, int64_t count, int64_t k0, int64_t kc,
                    int64_t part, int64_t parts) {
  const bool along = dense.k_stride == 1, across = !along && dense.lane_stride == 1;
  if (dense.data == nullptr || dense.lane_index || dense.k_index || !(along || across)) return;
  const int64_t item = static_cast<int64_t>(item_size(dense.dtype));
  const int64_t rows = along ? count : kc, row_bytes = item * (along ? kc : count),
                stride = item * (along ? dense.lane_stride : dense.k_stride);
  const char* data = static_cast<const char*>(dense.data) +
                     item * (first * dense.lane_stride + k0 * dense.k_stride);
  for (int64_t row = rows * part / parts; row < rows * (part + 1) / parts; ++row)
    for (int64_t byte = 0; byte < row_bytes; byte += 64)
      prefetch_second_level(data + row * stride + byte);
}

}  // namespace fms_accel::FMS_ACCEL_ISA
