#include "cpu/gemm_tile.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

FMS_ACCEL_INLINE Floats load_panel(const uint32_t* p) {
  return load_floats(reinterpret_cast<const float*>(p));
}

FMS_ACCEL_INLINE Floats broadcast_word(const void* p) {
  float word;  // a float, or a pair of bfloat16 that is only carried as one
  memcpy(&word, p, 4);
  return broadcast(word);
}

// One word of A times the vectors of a row of B. For a single vector of pairs the broadcast is part
// of the product: as an instruction of its own it would be the bottleneck.
template <class Step, int kVectors>
FMS_ACCEL_INLINE void multiply_row(const void* word, const Floats (&column)[kVectors],
                                   Floats (&sum)[kVectors]) {
#ifdef __AVX512BF16__
  if constexpr (kVectors == 1 && Step::kValues == 2) {
    asm("vdpbf16ps %2%{1to16%}, %1, %0"
        : "+v"(sum[0])
        : "v"(column[0]), "m"(*static_cast<const uint32_t(*)[1]>(word)));
    return;
  }
#endif
  const Floats row = broadcast_word(word);
  FMS_ACCEL_UNROLL
  for (int v = 0; v < kVectors; ++v) sum[v] = Step::multiply_add(row, column[v], sum[v]);
}

template <int kRows, int kVectors>
FMS_ACCEL_INLINE void write_tile(Floats (&sum)[kRows][kVectors], void* c, int64_t c_stride,
                                 TileStore store) {
  if (store == TileStore::kAddToFloats) {
    FMS_ACCEL_UNROLL
    for (int i = 0; i < kRows; ++i) {
      FMS_ACCEL_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        float* to = static_cast<float*>(c) + i * c_stride + v * kLanes;
        store_floats(to, add(load_floats(to), sum[i][v]));
      }
    }
  } else if (store == TileStore::kFloats) {
    FMS_ACCEL_UNROLL
    for (int i = 0; i < kRows; ++i) {
      FMS_ACCEL_UNROLL
      for (int v = 0; v < kVectors; ++v)
        store_floats(static_cast<float*>(c) + i * c_stride + v * kLanes, sum[i][v]);
    }
  } else {
    FMS_ACCEL_UNROLL
    for (int i = 0; i < kRows; ++i) {
      FMS_ACCEL_UNROLL
      for (int v = 0; v < kVectors; ++v)
        store_floats(static_cast<Bf16*>(c) + i * c_stride + v * kLanes, sum[i][v]);
    }
  }
}

// Zero sums; C's lines are asked for now and used at the end.
template <int kRows, int kVectors>
FMS_ACCEL_INLINE void begin_tile(Floats (&sum)[kRows][kVectors], const void* c, int64_t c_stride,
                                 TileStore store) {
  const int64_t item = store == TileStore::kBf16 ? 2 : 4, row_bytes = c_stride * item;
  const char* row = static_cast<const char*>(c);
  FMS_ACCEL_UNROLL
  for (int i = 0; i < kRows; ++i, row += row_bytes) {
    FMS_ACCEL_UNROLL
    for (int v = 0; v < kVectors; ++v) sum[i][v] = zero_floats();
    prefetch(row);
    if constexpr (kVectors > 1) prefetch(row + kVectors * kLanes * item - 1);
  }
}

template <class Step, int kRows, int kVectors>
struct PackedTile {
  static void run(int64_t steps, const uint32_t* a, const uint32_t* b, void* c, int64_t c_stride,
                  TileStore store) {
    Floats sum[kRows][kVectors];
    begin_tile(sum, c, c_stride, store);
    for (int64_t s = 0; s < steps; ++s, a += kRows, b += kVectors * kLanes) {
      Floats column[kVectors];
      FMS_ACCEL_UNROLL
      for (int v = 0; v < kVectors; ++v) column[v] = load_panel(b + v * kLanes);
      FMS_ACCEL_UNROLL
      for (int i = 0; i < kRows; ++i) multiply_row<Step>(a + i, column, sum[i]);
    }
    write_tile(sum, c, c_stride, store);
  }
};

template <class Step, int kRows, int kVectors>
struct DirectTile {
  static void run(int64_t steps, const char* a, int64_t a_stride, const uint32_t* b, void* c,
                  int64_t c_stride, TileStore store) {
    Floats sum[kRows][kVectors];
    begin_tile(sum, c, c_stride, store);
    constexpr int64_t kLineSteps = 64 / 4;
    for (int64_t s = 0; s < steps;) {
      // The rows that most likely come next: the hardware follows fewer at once, and to the end of
      // a page only.
      FMS_ACCEL_UNROLL
      for (int i = 0; i < kRows; ++i) prefetch_second_level(a + (kRows + i) * a_stride);
      for (const int64_t end = min_of(s + kLineSteps, steps); s < end;
           ++s, a += 4, b += kVectors * kLanes) {
        Floats column[kVectors];
        FMS_ACCEL_UNROLL
        for (int v = 0; v < kVectors; ++v) column[v] = load_panel(b + v * kLanes);
        FMS_ACCEL_UNROLL
        for (int i = 0; i < kRows; ++i) multiply_row<Step>(a + i * a_stride, column, sum[i]);
      }
    }
    write_tile(sum, c, c_stride, store);
  }
};

// kLanes lanes of one step of B where it lies.
FMS_ACCEL_INLINE Floats load_in_place(FloatStep, const char* row, int64_t) {
  return load_floats(reinterpret_cast<const float*>(row));
}
FMS_ACCEL_INLINE Floats load_in_place(RoundedStep, const char* row, int64_t) {
  return load_floats(reinterpret_cast<const Bf16*>(row));
}
#ifdef __AVX512BF16__
FMS_ACCEL_INLINE Floats load_in_place(PairStep, const char* row, int64_t stride) {
  return _mm512_castsi512_ps(PairStep::interleave(reinterpret_cast<const Bf16*>(row),
                                                  reinterpret_cast<const Bf16*>(row + stride)));
}
#endif

// How many steps before its use a row of B is asked for: rows lie too far apart for the hardware to
// follow.
constexpr int64_t kStepsAhead = 16;

template <class Step, int kRows, int kVectors>
struct ColumnsTile {
  static void run(int64_t steps, const uint32_t* a, const char* b, int64_t b_stride,
                  const float* before, void* c, int64_t c_stride, TileStore store) {
    constexpr int64_t kVectorBytes = kLanes * (__is_same(Step, FloatStep) ? 4 : 2);
    Floats sum[kRows][kVectors];
    begin_tile(sum, c, c_stride, store);
    if (before != nullptr) {
      FMS_ACCEL_UNROLL
      for (int i = 0; i < kRows; ++i) {
        FMS_ACCEL_UNROLL
        for (int v = 0; v < kVectors; ++v)
          sum[i][v] = load_floats(before + i * kTileColumns + v * kLanes);
      }
    }
    const int64_t step_bytes = Step::kValues * b_stride;
    for (int64_t s = 0; s < steps; ++s, a += kRows, b += step_bytes) {
      Floats column[kVectors];
      FMS_ACCEL_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        column[v] = load_in_place(Step(), b + v * kVectorBytes, b_stride);
        prefetch(b + kStepsAhead * step_bytes + v * kVectorBytes);
        if constexpr (Step::kValues == 2)
          prefetch(b + kStepsAhead * step_bytes + b_stride + v * kVectorBytes);
      }
      FMS_ACCEL_UNROLL
      for (int i = 0; i < kRows; ++i) multiply_row<Step>(a + i, column, sum[i]);
    }
    write_tile(sum, c, c_stride, store);
  }
};

// Tables of one kernel for each number of rows.
template <class Kernel, template <class, int, int> class Tile, class Step, int kMost>
struct Table {
  Kernel full[kMost], narrow[kMost];
  constexpr Table() : full(), narrow() { fill<kMost>(); }
  template <int kRows>
  constexpr void fill() {
    full[kRows - 1] = Tile<Step, kRows, kTileVectors>::run;
    narrow[kRows - 1] = Tile<Step, kRows, 1>::run;
    if constexpr (kRows > 1) fill<kRows - 1>();
  }
};

constexpr Table<TileKernel, PackedTile, FloatStep, kTileRows> kFloatTiles;
constexpr Table<TileKernel, PackedTile, Bf16Step, kTileRows> kBf16Tiles;
constexpr Table<DirectKernel, DirectTile, FloatStep, kDirectRows> kFloatDirect;
constexpr Table<DirectKernel, DirectTile, Bf16Step, kDirectRows> kBf16Direct;
constexpr Table<ColumnsKernel, ColumnsTile, FloatStep, kTileRows> kFloatColumns;
constexpr Table<ColumnsKernel, ColumnsTile, Bf16Step, kTileRows> kBf16Columns;

template <class Kernels>
auto kernel_of(const Kernels& kernels, int64_t rows, bool narrow) {
  return narrow ? kernels.narrow[rows - 1] : kernels.full[rows - 1];
}

}  // namespace

TileKernel tile_kernel(Compute compute, int64_t rows, bool narrow) {
  return compute == Compute::kBFloat16 ? kernel_of(kBf16Tiles, rows, narrow)
                                       : kernel_of(kFloatTiles, rows, narrow);
}
DirectKernel direct_kernel(Compute compute, int64_t rows, bool narrow) {
  return compute == Compute::kBFloat16 ? kernel_of(kBf16Direct, rows, narrow)
                                       : kernel_of(kFloatDirect, rows, narrow);
}
ColumnsKernel columns_kernel(Compute compute, int64_t rows, bool narrow) {
  return compute == Compute::kBFloat16 ? kernel_of(kBf16Columns, rows, narrow)
                                       : kernel_of(kFloatColumns, rows, narrow);
}

}  // namespace fms_accel::FMS_ACCEL_ISA
