#include "cpu/gemm_pack.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

// Lines of a row that packing along k asks for ahead: more rows are read side by side than the hardware follows.
constexpr int64_t kAheadBytes = 256;
// k that packing across k does for all panels before the next: the source is then read along its rows, page by page.
constexpr int64_t kRunAcross = 16;

template <class T>
struct Elements {
  const DenseOperand& dense;
  const T* lane(int64_t i) const {
    return static_cast<const T*>(dense.data) + (dense.lane_index ? dense.lane_index[i] : i) * dense.lane_stride;
  }
  const T* along(int64_t k) const {
    return static_cast<const T*>(dense.data) + (dense.k_index ? dense.k_index[k] : k) * dense.k_stride;
  }
};

template <class Step>
FMS_ACCEL_INLINE int64_t steps_of(int64_t kc) {
  return divide_up(kc, Step::kValues);
}

// One panel of a source whose k is contiguous: blocks of kLanes lanes x kLanes steps are transposed in registers.
template <class Step, class T>
void pack_panel_along_k(const Elements<T>& from, uint32_t* to, int64_t first, int64_t count, int64_t width, int64_t k0,
                        int64_t kc) {
  constexpr int64_t kBlock = kLanes * Step::kValues;
  const int64_t steps = steps_of<Step>(kc);
  for (int64_t w = 0; w < width; w += kLanes) {
    const int64_t lanes = min_of(width - w, kLanes), have = clamp_of(count - w, 0, kLanes);
    const bool no_zeros = have >= lanes;  // vectors behind the last lane of a panel may then hold anything
    const T* rows[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) rows[i] = from.lane(first + (i < have ? w + i : 0)) + k0;
    // The surplus of a store behind a panel narrower than a vector falls on the next step; the last step has none.
    const int64_t spare = divide_up(kLanes - lanes, width);
    for (int64_t k = 0; k < kc; k += kBlock) {
      Words r[kLanes];
      if (no_zeros && kc - k >= kBlock) {
        FMS_ACCEL_UNROLL
        for (int i = 0; i < kLanes; ++i) {
          r[i] = Step::load(rows[i] + k);
          prefetch(reinterpret_cast<const char*>(rows[i] + k) + kAheadBytes);
        }
      } else if (kc - k >= kBlock) {
        for (int i = 0; i < kLanes; ++i) r[i] = i < have ? Step::load(rows[i] + k) : zero_words();
      } else {
        for (int i = 0; i < kLanes; ++i) r[i] = i < have ? Step::load(rows[i] + k, static_cast<int>(kc - k)) : zero_words();
      }
      transpose(r);
      const int64_t s = k / Step::kValues;
      uint32_t* at = to + s * width + w;
      if (s + kLanes + spare <= steps) {
        FMS_ACCEL_UNROLL
        for (int i = 0; i < kLanes; ++i) store_words(at + i * width, r[i]);
      } else {
        alignas(64) uint32_t block[kLanes][kLanes];
        for (int i = 0; i < kLanes; ++i) store_words(block[i], r[i]);
        for (int64_t i = 0; i < kLanes && s + i < steps; ++i) memcpy(at + i * width, block[i], 4 * static_cast<size_t>(lanes));
      }
    }
  }
}

// kLanes lanes of one step of a source whose lanes are contiguous: row k, and k + 1 where a step holds two.
template <class Step, class T>
FMS_ACCEL_INLINE Words load_across(const T* low, const T* high, int count) {
  if constexpr (Step::kValues == 2) return Step::interleave(low, high, count);
  else return Step::load(low, count);
}

template <class Step, class T>
void pack_panel_across_k(const Elements<T>& from, uint32_t* to, int64_t first, int64_t count, int64_t width, int64_t k0,
                         int64_t kc) {
  if (width == kTileColumns && count >= width && kc % Step::kValues == 0) {  // the common case: whole vectors
    for (int64_t k = 0; k < kc; k += Step::kValues, to += width) {
      const T* low = from.along(k0 + k) + first;
      if constexpr (Step::kValues == 2 && kTileVectors == 2 && __is_same(T, Bf16)) {
        Step::interleave_two(low, from.along(k0 + k + 1) + first, to);
      } else if constexpr (Step::kValues == 2) {
        const T* high = from.along(k0 + k + 1) + first;
        FMS_ACCEL_UNROLL
        for (int v = 0; v < kTileVectors; ++v) {
          store_words(to + v * kLanes, Step::interleave(low + v * kLanes, high + v * kLanes, kLanes));
        }
      } else {
        FMS_ACCEL_UNROLL
        for (int v = 0; v < kTileVectors; ++v) store_words(to + v * kLanes, Step::load(low + v * kLanes));
      }
    }
    return;
  }
  for (int64_t k = 0; k < kc; k += Step::kValues, to += width) {
    const T* low = from.along(k0 + k) + first;
    const T* high = Step::kValues == 2 && k + 1 < kc ? from.along(k0 + k + 1) + first : nullptr;
    for (int64_t w = 0; w < width; w += kLanes) {
      const int have = static_cast<int>(clamp_of(count - w, 0, kLanes));
      const Words words = have == 0 ? zero_words() : load_across<Step>(low + w, high == nullptr ? nullptr : high + w, have);
      store_words(to + w, words, static_cast<int>(min_of(width - w, kLanes)));
    }
  }
}

// Neither is contiguous: gather a vector's worth of values along k for each lane, then go on as if k were contiguous.
template <class Step, class T>
void pack_panel_strided(const Elements<T>& from, uint32_t* to, int64_t first, int64_t count, int64_t width, int64_t k0,
                        int64_t kc) {
  for (int64_t lane = 0; lane < width; ++lane) {
    const T* base = lane < count ? from.lane(first + lane) : nullptr;
    for (int64_t k = 0; k < kc; k += kLanes * Step::kValues) {
      T values[kLanes * Step::kValues] = {};
      const int64_t left = min_of(kc - k, kLanes * Step::kValues);
      for (int64_t i = 0; base != nullptr && i < left; ++i) {
        values[i] = base[(from.dense.k_index ? from.dense.k_index[k0 + k + i] : k0 + k + i) * from.dense.k_stride];
      }
      alignas(64) uint32_t words[kLanes];
      store_words(words, Step::load(values));
      for (int64_t s = 0; s < steps_of<Step>(left); ++s) to[(k / Step::kValues + s) * width + lane] = words[s];
    }
  }
}

template <class Step, class T>
void pack_elements(const DenseOperand& dense, const GemmPanels& p) {
  const Elements<T> from{dense};
  const int64_t steps = steps_of<Step>(p.kc);
  const bool along = dense.k_stride == 1 && dense.k_index == nullptr;
  const bool across = !along && dense.lane_stride == 1 && dense.lane_index == nullptr;
  const int64_t run = across ? kRunAcross : p.kc;
  for (int64_t k = 0; k < p.kc; k += run) {
    const int64_t kc = min_of(run, p.kc - k);
    for (int64_t j = 0; j < p.count; j += p.width) {
      const int64_t left = p.count - j;
      const int64_t width = left >= p.width ? p.width : panel_columns(left);
      uint32_t* to = p.to + j * steps + k / Step::kValues * width;
      if (along) pack_panel_along_k<Step>(from, to, p.first + j, left, width, p.k0 + k, kc);
      else if (across) pack_panel_across_k<Step>(from, to, p.first + j, left, width, p.k0 + k, kc);
      else pack_panel_strided<Step>(from, to, p.first + j, left, width, p.k0 + k, kc);
    }
  }
}

}  // namespace

void pack_dense(Compute compute, const DenseOperand& dense, const GemmPanels& panels) {
  with_step(compute, [&](auto step) {
    with_floating(dense.dtype, [&](auto element) { pack_elements<decltype(step), decltype(element)>(dense, panels); });
  });
}

}  // namespace fms_accel::FMS_ACCEL_ISA
