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
    for (int64_t s = 0; s < steps; ++s, a += 4, b += kVectors * kLanes) {
      Floats column[kVectors];
      FMS_ACCEL_UNROLL
      for (int v = 0; v < kVectors; ++v) column[v] = load_panel(b + v * kLanes);
      FMS_ACCEL_UNROLL
      for (int i = 0; i < kRows; ++i) multiply_row<Step>(a + i * a_stride, column, sum[i]);
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

}  // namespace

TileKernel tile_kernel(Compute compute, int64_t rows, bool narrow) {
  const auto& table = *(compute == Compute::kBFloat16 ? &kBf16Tiles.full : &kFloatTiles.full);
  const auto& narrow_table =
      *(compute == Compute::kBFloat16 ? &kBf16Tiles.narrow : &kFloatTiles.narrow);
  return narrow ? narrow_table[rows - 1] : table[rows - 1];
}

DirectKernel direct_kernel(Compute compute, int64_t rows, bool narrow) {
  const auto& table = *(compute == Compute::kBFloat16 ? &kBf16Direct.full : &kFloatDirect.full);
  const auto& narrow_table =
      *(compute == Compute::kBFloat16 ? &kBf16Direct.narrow : &kFloatDirect.narrow);
  return narrow ? narrow_table[rows - 1] : table[rows - 1];
}

}  // namespace fms_accel::FMS_ACCEL_ISA
