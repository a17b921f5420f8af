// Products by tensor cores: tiles of bfloat16 in shared memory, ldmatrix and mma.m16n8k16, sums in
// float32. A tile keeps its operand's own direction, so no transposition happens on the way. While
// one tile is multiplied the next are on their way:
//   where operands are bfloat16 with 16-byte rows: cp.async, two tiles ahead (a tail of other
//   dtypes, which is short, is read and converted when its turn comes)
//   else: through registers, converted, one tile ahead
// Each element is summed over k in rising order by one warp, so its bits depend on its row, its
// column and k, and both ways give the same.
#include <type_traits>

#include "cuda/product_kernels.h"
#include "fms_accel/cuda/tensor_core.h"

namespace fms_accel::cuda {
namespace {

constexpr int kThreads = 128;  // four warps in a square, each a quarter of the block's result
constexpr int kDepth = 32;     // of a tile along k
constexpr int kPad = 8;        // keeps the rows of a tile on different banks

// A tile [Size lanes, kDepth] in shared memory, [lane][k] or [k][lane], and the share that this
// thread brings of it: kEights runs of eight elements, kHop lanes or steps apart.
template <int Size, bool AlongK>
struct Tile {
  static constexpr int kStride = (AlongK ? kDepth : Size) + kPad;
  static constexpr int kElements = (AlongK ? Size : kDepth) * kStride;
  static constexpr int kAcross = (AlongK ? kDepth : Size) / 8;
  static constexpr int kHop = kThreads / kAcross;
  static constexpr int kEights = Size * kDepth / 8 / kThreads;

  static __device__ __forceinline__ int offset(int lane, int step) {
    return AlongK ? lane * kStride + step : step * kStride + lane;
  }
  static __device__ __forceinline__ void place(int eight, int* lane, int* step) {
    const int thread = static_cast<int>(threadIdx.x);
    const int across = thread % kAcross * 8, down = thread / kAcross + eight * kHop;
    *lane = AlongK ? down : across;
    *step = AlongK ? across : down;
  }
};

// Eight elements as bfloat16: along k from (lane, step) where AlongK, else along the lanes.
template <bool AlongK>
__device__ __forceinline__ uint4 load_eight(const Lanes& x, int64_t lane, int64_t step) {
  const bool is_inside =
      AlongK ? lane < x.lanes && step + 8 <= x.k : lane + 8 <= x.lanes && step < x.k;
  const int64_t at = x.base + lane * x.lane_stride + step * x.k_stride;
  if (is_inside && x.is_aligned && (AlongK ? x.k_stride : x.lane_stride) == 1) {
    if (x.dtype == DType::kBFloat16)
      return *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(x.data) + at);
    if (x.dtype == DType::kFloat32) {
      const float4* from = reinterpret_cast<const float4*>(static_cast<const float*>(x.data) + at);
      const float4 low = from[0], high = from[1];
      return uint4{pack_bf16(low.x, low.y), pack_bf16(low.z, low.w), pack_bf16(high.x, high.y),
                   pack_bf16(high.z, high.w)};
    }
  }
  uint64_t low = 0, high = 0;
#pragma unroll 1
  for (int e = 0; e < 8; ++e) {
    const uint64_t bits = bf16_of_float(AlongK ? x.at(lane, step + e) : x.at(lane + e, step));
    if (e < 4) {
      low |= bits << 16 * e;
    } else {
      high |= bits << 16 * (e - 4);
    }
  }
  return uint4{static_cast<unsigned>(low), static_cast<unsigned>(low >> 32),
               static_cast<unsigned>(high), static_cast<unsigned>(high >> 32)};
}

template <int Size, bool AlongK>
__device__ __forceinline__ void read_tile(const Lanes& x, int64_t lane0, int64_t k0,
                                          uint4 (&to)[Tile<Size, AlongK>::kEights]) {
#pragma unroll
  for (int i = 0; i < Tile<Size, AlongK>::kEights; ++i) {
    int lane, step;
    Tile<Size, AlongK>::place(i, &lane, &step);
    to[i] = load_eight<AlongK>(x, lane0 + lane, k0 + step);
  }
}
template <int Size, bool AlongK>
__device__ __forceinline__ void put_tile(uint16_t* tile,
                                         const uint4 (&from)[Tile<Size, AlongK>::kEights]) {
#pragma unroll
  for (int i = 0; i < Tile<Size, AlongK>::kEights; ++i) {
    int lane, step;
    Tile<Size, AlongK>::place(i, &lane, &step);
    *reinterpret_cast<uint4*>(&tile[Tile<Size, AlongK>::offset(lane, step)]) = from[i];
  }
}
// Starts copies of the tile; what lies outside of the operand becomes zeros.
template <int Size, bool AlongK>
__device__ __forceinline__ void start_tile(const Lanes& x, int64_t lane0, int64_t k0,
                                           uint16_t* tile) {
  using T = Tile<Size, AlongK>;
  int first_lane, first_step;
  T::place(0, &first_lane, &first_step);
  const auto* const data = static_cast<const uint16_t*>(x.data);
  const int64_t at = x.base + (lane0 + first_lane) * x.lane_stride + (k0 + first_step) * x.k_stride;
  const int64_t hop = T::kHop * (AlongK ? x.lane_stride : x.k_stride);
#pragma unroll
  for (int i = 0; i < T::kEights; ++i) {
    int lane, step;
    T::place(i, &lane, &step);
    const int64_t lanes_left = x.lanes - lane0 - lane, steps_left = x.k - k0 - step;
    const int64_t along = AlongK ? steps_left : lanes_left,
                  other = AlongK ? lanes_left : steps_left;
    const int elements = other <= 0 || along <= 0 ? 0 : along < 8 ? static_cast<int>(along) : 8;
    copy_async_up_to_16(&tile[T::offset(lane, step)], elements > 0 ? data + at + i * hop : data,
                        2 * elements);
  }
}

template <int Size, bool AAlongK, bool BAlongK, bool IsAsync>
struct Stages {
  static constexpr int kCount = IsAsync ? 3 : 2;
  static constexpr int kElements = Tile<Size, AAlongK>::kElements + Tile<Size, BAlongK>::kElements;
  static constexpr size_t kBytes = 2 * kCount * kElements;
};

// Sixteen rows of a warp's part of the result, on their way from registers to C; they lie where the
// stages were.
template <int Size>
struct Strip {
  static constexpr int kColumns = Size / 2, kStride = kColumns + 8, kElements = 16 * kStride;

  static __device__ __forceinline__ void store(const Part& part, int64_t c_base, int64_t row0,
                                               int64_t column0, const float* strip) {
    const Product& p = part.p;
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll 1
    for (int e = 4 * lane; e < 16 * kColumns; e += 4 * 32) {
      const int64_t row = row0 + e / kColumns, column = column0 + e % kColumns;
      if (row >= p.m || column >= p.n) continue;
      const float4 four =
          *reinterpret_cast<const float4*>(strip + e / kColumns * kStride + e % kColumns);
      const float sums[4] = {four.x, four.y, four.z, four.w};
      const int64_t at = c_base + row * p.c.row_stride + column, left = p.n - column;
      const bool is_dense = part.stores_fours && left >= 4;
      void* const c = const_cast<void*>(p.c.data);
      float values[4] = {};
      if (p.beta != 0.0f) load_run<float>(c, p.c.dtype, at, left, is_dense, values);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        float value = p.alpha * sums[k];
        if (p.beta != 0.0f) value += p.beta * values[k];
        if (p.bias != nullptr && k < left) value += load_floating(p.bias, p.bias_dtype, column + k);
        values[k] = value;
      }
      store_run<float>(c, p.c.dtype, at, left, is_dense, values);
    }
  }
};

template <int Size, bool AAlongK, bool BAlongK, bool IsAsync, class Parts>
__global__ void __launch_bounds__(kThreads) multiply_tiles(Parts parts) {
  const Part& part = parts.of_block();
  if (!part.has_block()) return;
  using TileA = Tile<Size, AAlongK>;
  using TileB = Tile<Size, BAlongK>;
  using Ring = Stages<Size, AAlongK, BAlongK, IsAsync>;
  constexpr int kRows = Size / 2 / 16, kColumns = Size / 2 / 8;
  DYNAMIC_SHARED(uint16_t, stages);
  const Product& p = part.p;
  const int64_t matrix = part.first + blockIdx.y, outer = matrix / p.inner,
                inner = matrix % p.inner;
  int64_t row0, column0;
  place_of_block(part, &row0, &column0);
  row0 *= Size, column0 *= Size;
  const int warp = static_cast<int>(threadIdx.x) / 32, l = static_cast<int>(threadIdx.x) % 32;
  const int warp_row = warp / 2 * (Size / 2), warp_column = warp % 2 * (Size / 2);

  float sums[kRows][kColumns][4];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sums[i][j][e] = 0.0f;
    }
  }

  // Tiles are brought in order, those of A · B and then those of the tail.
  Lanes a = lanes_of_a(p, 0, outer, inner), b = lanes_of_b(p, 0, outer, inner);
  int64_t k0 = 0;
  const int64_t tiles = ceil_div(p.k, kDepth) + ceil_div(p.tail_k, kDepth);
  int64_t started = 0;
  bool in_tail = false;
  uint4 next_a[TileA::kEights], next_b[TileB::kEights];
  const auto stage_of = [&](int64_t tile) {
    return stages + tile % Ring::kCount * Ring::kElements;
  };
  const auto start_next = [&] {
    if (started < tiles) {
      if (k0 >= a.k && !in_tail) {
        a = lanes_of_a(p, 1, outer, inner);
        b = lanes_of_b(p, 1, outer, inner);
        k0 = 0;
        in_tail = true;
      }
      uint16_t* const stage = stage_of(started);
      if (IsAsync && (!in_tail || part.copies_tail)) {
        start_tile<Size, AAlongK>(a, row0, k0, stage);
        start_tile<Size, BAlongK>(b, column0, k0, stage + TileA::kElements);
      } else {
        read_tile<Size, AAlongK>(a, row0, k0, next_a);
        read_tile<Size, BAlongK>(b, column0, k0, next_b);
        if constexpr (IsAsync) {
          put_tile<Size, AAlongK>(stage, next_a);
          put_tile<Size, BAlongK>(stage + TileA::kElements, next_b);
        }
      }
      k0 += kDepth;
    }
    ++started;
    if constexpr (IsAsync) copy_async_commit();  // one group a tile, an empty one behind the last
  };
  const auto put_next = [&] {
    if (IsAsync || started > tiles) return;
    uint16_t* const stage = stage_of(started - 1);
    put_tile<Size, AAlongK>(stage, next_a);
    put_tile<Size, BAlongK>(stage + TileA::kElements, next_b);
  };

  // Before tile 0 the first stages are filled.
  for (int64_t tile = 1 - Ring::kCount; tile < tiles; ++tile) {
    if (tile >= 0) {
      if constexpr (IsAsync) copy_async_wait<Ring::kCount - 2>();
      __syncthreads();  // the tile is there, and the one before has been read: its stage is free
    }
    start_next();
    if (tile >= 0) {
      const uint16_t* const tile_a = stage_of(tile);
      const uint16_t* const tile_b = tile_a + TileA::kElements;
#pragma unroll
      for (int step = 0; step < kDepth; step += 16) {
        uint32_t fragments_a[kRows][4], fragments_b[kColumns / 2][4];
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          const int lane0 = warp_row + i * 16;
          if constexpr (AAlongK) {
            ldmatrix_x4(fragments_a[i],
                        &tile_a[TileA::offset(lane0 + l / 8 % 2 * 8 + l % 8, step + l / 16 * 8)]);
          } else {
            ldmatrix_x4_transposed(
                fragments_a[i],
                &tile_a[TileA::offset(lane0 + l / 8 % 2 * 8, step + l / 16 * 8 + l % 8)]);
          }
        }
#pragma unroll
        for (int j = 0; j < kColumns / 2; ++j) {
          const int lane0 = warp_column + j * 16;
          if constexpr (BAlongK) {
            ldmatrix_x4(fragments_b[j],
                        &tile_b[TileB::offset(lane0 + l / 16 * 8 + l % 8, step + l / 8 % 2 * 8)]);
          } else {
            ldmatrix_x4_transposed(
                fragments_b[j],
                &tile_b[TileB::offset(lane0 + l / 16 * 8, step + l / 8 % 2 * 8 + l % 8)]);
          }
        }
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
#pragma unroll
          for (int j = 0; j < kColumns; ++j) {
            mma_bf16(sums[i][j], fragments_a[i], fragments_b[j / 2][j % 2 * 2],
                     fragments_b[j / 2][j % 2 * 2 + 1]);
          }
        }
      }
    }
    put_next();
  }
  if constexpr (IsAsync) copy_async_wait_all();
  __syncthreads();  // the last tile has been read
  static_assert(4 * Strip<Size>::kElements * sizeof(float) <= Ring::kBytes);
  float* const strip = reinterpret_cast<float*>(stages) + warp * Strip<Size>::kElements;
  const int64_t c_base = base_of(p.c, outer, inner);
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        *reinterpret_cast<float2*>(
            &strip[(l / 4 + half * 8) * Strip<Size>::kStride + j * 8 + l % 4 * 2]) =
            float2{sums[i][j][2 * half], sums[i][j][2 * half + 1]};
      }
    }
    __syncwarp();
    Strip<Size>::store(part, c_base, row0 + warp_row + i * 16, column0 + warp_column, strip);
    __syncwarp();
  }
}

template <int Size, bool AAlongK, bool BAlongK, bool IsAsync>
void launch_tiles(const Product& p, bool copies_tail) {
  launch_product(multiply_tiles<Size, AAlongK, BAlongK, IsAsync, Part>, Size, kThreads,
                 Stages<Size, AAlongK, BAlongK, IsAsync>::kBytes, p, copies_tail);
}
template <bool AAlongK, bool BAlongK>
void launch_oriented(const Product& p) {
  // Rows of B run across the result: contiguous ones are its lanes.
  const auto take_copies = [](const ProductOperand& a, const ProductOperand& b) {
    return takes_copies(a, AAlongK) && takes_copies(b, !BAlongK);
  };
  const bool copies_tail = p.tail_k > 0 && take_copies(p.a_tail, p.b_tail);
  if (!take_copies(p.a, p.b)) return launch_tiles<64, AAlongK, BAlongK, false>(p, false);
  if (is_large_product(p)) return launch_tiles<128, AAlongK, BAlongK, true>(p, copies_tail);
  launch_tiles<64, AAlongK, BAlongK, true>(p, copies_tail);
}

template <int Size, bool AAlongK, bool BAlongK, bool IsAsync>
void launch_tiles_of_groups(const Product& common, const GroupedMatmul& grouped) {
  launch_groups(multiply_tiles<Size, AAlongK, BAlongK, IsAsync, GroupedPart>, Size, kThreads,
                Stages<Size, AAlongK, BAlongK, IsAsync>::kBytes, common, grouped);
}
template <bool AAlongK, bool BAlongK>
void launch_oriented_groups(const Product& common, const GroupedMatmul& grouped, bool is_large) {
  if (!takes_copies_of_groups(common, grouped, AAlongK, BAlongK))
    return launch_tiles_of_groups<64, AAlongK, BAlongK, false>(common, grouped);
  is_large ? launch_tiles_of_groups<128, AAlongK, BAlongK, true>(common, grouped)
           : launch_tiles_of_groups<64, AAlongK, BAlongK, true>(common, grouped);
}

// take(whether A's tiles lie along k, whether B's do).
template <class Take>
void with_directions(const Product& p, const Take& take) {
  const std::bool_constant<true> yes;
  const std::bool_constant<false> no;
  const bool b_along_k = !lies_by_rows(p.b);
  if (lies_by_rows(p.a)) {
    b_along_k ? take(yes, yes) : take(yes, no);
  } else {
    b_along_k ? take(no, yes) : take(no, no);
  }
}

}  // namespace

void multiply_bf16(const Product& p) {
  with_directions(p, [&](auto a, auto b) { launch_oriented<a.value, b.value>(p); });
}
void multiply_groups_bf16(const Product& common, const GroupedMatmul& grouped, bool is_large) {
  with_directions(common, [&](auto a, auto b) {
    launch_oriented_groups<a.value, b.value>(common, grouped, is_large);
  });
}

}  // namespace fms_accel::cuda
