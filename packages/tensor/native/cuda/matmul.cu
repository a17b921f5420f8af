// General matrix products. Operands of any floating dtype and strides are read into registers while
// the tile before is multiplied, converted, and put into shared memory:
//   bfloat16  tiles of bfloat16, ldmatrix and mma.m16n8k16, sums in float32
//   float32   tiles of float, fused multiply-adds (no TF32)
// A tile keeps its operand's own direction, so no transposition happens on the way. Each element is
// summed over k in rising order by one thread, so its bits depend on its row, its column and k.
#include "cuda/cublaslt.h"
#include "cuda/elements.h"
#include "cuda/kernel_sources.h"
#include "cuda/product.h"
#include "cuda/tensor_core.h"
#include "engine/error.h"

namespace fms_accel::cuda {
namespace {

// What a kernel gets; `first` is the first matrix of its part of the batch.
struct Part {
  Product p;
  int64_t first;
};

__device__ __forceinline__ int64_t base_of(const ProductOperand& x, int64_t outer, int64_t inner) {
  return outer * x.outer_stride + inner / x.divisor * x.inner_stride;
}

__device__ __forceinline__ void store_element(const Product& p, int64_t matrix, int64_t c_base,
                                              int64_t row, int64_t column, float sum) {
  if (row >= p.m || column >= p.n) return;
  if (p.row_factors != nullptr) sum *= p.row_factors[matrix * p.m + row];
  const int64_t at = c_base + row * p.c.row_stride + column;
  float value = p.alpha * sum;
  if (p.beta != 0.0f) value += p.beta * load<float>(p.c.data, p.c.dtype, at);
  if (p.bias != nullptr) value += load<float>(p.bias, p.bias_dtype, column);
  store<float>(const_cast<void*>(p.c.data), p.c.dtype, at, value);
}

// One operand as lanes (rows of A, columns of B) times k.
struct Lanes {
  const void* data;
  DType dtype;
  int64_t base, lane_stride, k_stride, lanes, k;
  bool is_aligned;  // eight elements along the contiguous direction are one or two vector loads

  __device__ __forceinline__ float at(int64_t lane, int64_t step) const {
    if (lane >= lanes || step >= k) return 0.0f;
    return load<float>(data, dtype, base + lane * lane_stride + step * k_stride);
  }
};

__device__ __forceinline__ bool takes_vectors(const ProductOperand& x, int64_t base,
                                              int64_t other_stride) {
  const int64_t unit = x.dtype == DType::kFloat32 ? 4 : 8;
  return reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && base % unit == 0 &&
         other_stride % unit == 0;
}
// Section 0 is A · B, section 1 the tail.
__device__ __forceinline__ Lanes lanes_of_a(const Product& p, int section, int64_t outer,
                                            int64_t inner) {
  const ProductOperand& x = section == 0 ? p.a : p.a_tail;
  const int64_t base = base_of(x, outer, inner);
  const int64_t other = x.column_stride == 1 ? x.row_stride : x.column_stride;
  return {x.data,
          x.dtype,
          base,
          x.row_stride,
          x.column_stride,
          p.m,
          section == 0 ? p.k : p.tail_k,
          takes_vectors(x, base, other)};
}
__device__ __forceinline__ Lanes lanes_of_b(const Product& p, int section, int64_t outer,
                                            int64_t inner) {
  const ProductOperand& x = section == 0 ? p.b : p.b_tail;
  const int64_t base = base_of(x, outer, inner);
  const int64_t other = x.row_stride == 1 ? x.column_stride : x.row_stride;
  return {x.data,
          x.dtype,
          base,
          x.column_stride,
          x.row_stride,
          p.n,
          section == 0 ? p.k : p.tail_k,
          takes_vectors(x, base, other)};
}

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
  float values[8];
#pragma unroll
  for (int e = 0; e < 8; ++e) values[e] = AlongK ? x.at(lane, step + e) : x.at(lane + e, step);
  return uint4{pack_bf16(values[0], values[1]), pack_bf16(values[2], values[3]),
               pack_bf16(values[4], values[5]), pack_bf16(values[6], values[7])};
}

// ---- bfloat16
// -------------------------------------------------------------------------------------

constexpr int kDepth = 32;  // of a tile along k
constexpr int kPad = 8;     // keeps the rows of a tile on different banks

// A tile [Size lanes, kDepth] in shared memory, [lane][k] or [k][lane].
template <int Size, bool AlongK>
struct BfTile {
  static constexpr int kStride = (AlongK ? kDepth : Size) + kPad;
  static constexpr int kElements = (AlongK ? Size : kDepth) * kStride;
  static constexpr int kEights = Size * kDepth / 8;
  static __device__ __forceinline__ void place(int eight, int* lane, int* step) {
    constexpr int kAcross = (AlongK ? kDepth : Size) / 8;
    *lane = AlongK ? eight / kAcross : eight % kAcross * 8;
    *step = AlongK ? eight % kAcross * 8 : eight / kAcross;
  }
  static __device__ __forceinline__ int offset(int lane, int step) {
    return AlongK ? lane * kStride + step : step * kStride + lane;
  }
};

// Threads: four warps in a square, each Size / 2 x Size / 2 of the result.
template <int Size, bool AAlongK, bool BAlongK>
__global__ void __launch_bounds__(128) multiply_bf16(Part part) {
  using TileA = BfTile<Size, AAlongK>;
  using TileB = BfTile<Size, BAlongK>;
  constexpr int kThreads = 128, kLoads = TileA::kEights / kThreads;
  constexpr int kRows = Size / 2 / 16, kColumns = Size / 2 / 8;
  SHARED(shared_a, uint4[TileA::kElements / 8]);
  SHARED(shared_b, uint4[TileB::kElements / 8]);
  uint16_t* const tile_a = reinterpret_cast<uint16_t*>(&shared_a[0]);
  uint16_t* const tile_b = reinterpret_cast<uint16_t*>(&shared_b[0]);
  const Product& p = part.p;
  const int64_t matrix = part.first + blockIdx.z, outer = matrix / p.inner,
                inner = matrix % p.inner;
  Lanes a = lanes_of_a(p, 0, outer, inner), b = lanes_of_b(p, 0, outer, inner);
  const int64_t row0 = static_cast<int64_t>(blockIdx.y) * Size,
                column0 = static_cast<int64_t>(blockIdx.x) * Size;
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
  uint4 next_a[kLoads], next_b[kLoads];
  const auto read = [&](int64_t k0) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      int lane, step;
      TileA::place(static_cast<int>(threadIdx.x) + i * kThreads, &lane, &step);
      next_a[i] = load_eight<AAlongK>(a, row0 + lane, k0 + step);
      TileB::place(static_cast<int>(threadIdx.x) + i * kThreads, &lane, &step);
      next_b[i] = load_eight<BAlongK>(b, column0 + lane, k0 + step);
    }
  };
  for (int section = 0; section < 2; ++section) {
    if (section == 1) {
      a = lanes_of_a(p, 1, outer, inner);
      b = lanes_of_b(p, 1, outer, inner);
    }
    const int64_t k = a.k;
    if (k > 0) read(0);
    for (int64_t k0 = 0; k0 < k; k0 += kDepth) {
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        int lane, step;
        TileA::place(static_cast<int>(threadIdx.x) + i * kThreads, &lane, &step);
        *reinterpret_cast<uint4*>(&tile_a[TileA::offset(lane, step)]) = next_a[i];
        TileB::place(static_cast<int>(threadIdx.x) + i * kThreads, &lane, &step);
        *reinterpret_cast<uint4*>(&tile_b[TileB::offset(lane, step)]) = next_b[i];
      }
      __syncthreads();
      if (k0 + kDepth < k) read(k0 + kDepth);
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
      __syncthreads();
    }
  }
  const int64_t c_base = base_of(p.c, outer, inner);
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        store_element(p, matrix, c_base, row0 + warp_row + i * 16 + l / 4 + e / 2 * 8,
                      column0 + warp_column + j * 8 + l % 4 * 2 + e % 2, sums[i][j][e]);
      }
    }
  }
}

// ---- float32
// --------------------------------------------------------------------------------------

// k that is summed from 0 before it is added to the rest: keeps the rounding of long sums small.
constexpr int64_t kRunOfSum = 64;

// 16 x 16 threads, each PerThread x PerThread elements that lie 16 apart.
template <int PerThread>
__global__ void __launch_bounds__(256) multiply_float(Part part) {
  constexpr int kSize = 16 * PerThread, kSteps = 16, kThreads = 256;
  constexpr int kLoads = kSize * kSteps / kThreads;
  SHARED(tile_a, float[kSteps][kSize + 1]);
  SHARED(tile_b, float[kSteps][kSize + 1]);
  const Product& p = part.p;
  const int64_t matrix = part.first + blockIdx.z, outer = matrix / p.inner,
                inner = matrix % p.inner;
  Lanes a = lanes_of_a(p, 0, outer, inner), b = lanes_of_b(p, 0, outer, inner);
  const int64_t row0 = static_cast<int64_t>(blockIdx.y) * kSize,
                column0 = static_cast<int64_t>(blockIdx.x) * kSize;
  const int thread = static_cast<int>(threadIdx.x), own_row = thread / 16, own_column = thread % 16;
  // Neighbouring threads read along the contiguous direction.
  const bool a_along_k = a.k_stride <= a.lane_stride, b_along_k = b.k_stride <= b.lane_stride;

  float totals[PerThread][PerThread], sums[PerThread][PerThread], next_a[kLoads], next_b[kLoads];
#pragma unroll
  for (int i = 0; i < PerThread; ++i) {
#pragma unroll
    for (int j = 0; j < PerThread; ++j) totals[i][j] = sums[i][j] = 0.0f;
  }
  const auto place = [&](bool along_k, int i, int* lane, int* step) {
    const int at = thread + i * kThreads;
    *lane = along_k ? at / kSteps : at % kSize;
    *step = along_k ? at % kSteps : at / kSize;
  };
  const auto read = [&](int64_t k0) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      int lane, step;
      place(a_along_k, i, &lane, &step);
      next_a[i] = a.at(row0 + lane, k0 + step);
      place(b_along_k, i, &lane, &step);
      next_b[i] = b.at(column0 + lane, k0 + step);
    }
  };
  for (int section = 0; section < 2; ++section) {
    if (section == 1) {
      a = lanes_of_a(p, 1, outer, inner);
      b = lanes_of_b(p, 1, outer, inner);
    }
    const int64_t k = a.k;
    if (k > 0) read(0);
    for (int64_t k0 = 0; k0 < k; k0 += kSteps) {
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        int lane, step;
        place(a_along_k, i, &lane, &step);
        tile_a[step][lane] = next_a[i];
        place(b_along_k, i, &lane, &step);
        tile_b[step][lane] = next_b[i];
      }
      __syncthreads();
      if (k0 + kSteps < k) read(k0 + kSteps);
      const int steps = static_cast<int>(min_of(kSteps, k - k0));
      for (int step = 0; step < steps; ++step) {
        float values_a[PerThread], values_b[PerThread];
#pragma unroll
        for (int i = 0; i < PerThread; ++i) {
          values_a[i] = tile_a[step][own_row + 16 * i];
          values_b[i] = tile_b[step][own_column + 16 * i];
        }
#pragma unroll
        for (int i = 0; i < PerThread; ++i) {
#pragma unroll
          for (int j = 0; j < PerThread; ++j) sums[i][j] += values_a[i] * values_b[j];
        }
      }
      __syncthreads();
      if ((k0 + kSteps) % kRunOfSum != 0 && k0 + kSteps < k) continue;
#pragma unroll
      for (int i = 0; i < PerThread; ++i) {
#pragma unroll
        for (int j = 0; j < PerThread; ++j) {
          totals[i][j] += sums[i][j];
          sums[i][j] = 0.0f;
        }
      }
    }
  }
  const int64_t c_base = base_of(p.c, outer, inner);
#pragma unroll
  for (int i = 0; i < PerThread; ++i) {
#pragma unroll
    for (int j = 0; j < PerThread; ++j)
      store_element(p, matrix, c_base, row0 + own_row + 16 * i, column0 + own_column + 16 * j,
                    totals[i][j]);
  }
}

template <int Size>
auto bf16_kernel(bool a_along_k, bool b_along_k) {
  if (a_along_k)
    return b_along_k ? multiply_bf16<Size, true, true> : multiply_bf16<Size, true, false>;
  return b_along_k ? multiply_bf16<Size, false, true> : multiply_bf16<Size, false, false>;
}

}  // namespace

void multiply(const Product& p) {
  const int64_t matrices = p.outer * p.inner;
  if (p.m == 0 || p.n == 0 || matrices == 0) return;
  if (multiply_by_cublaslt(p)) return;
  const bool is_large = ceil_div(p.m, 128) * ceil_div(p.n, 128) * matrices >= 64;
  const int64_t size = is_large ? 128 : 64;
  const bool a_along_k = p.a.column_stride <= p.a.row_stride,
             b_along_k = p.b.row_stride <= p.b.column_stride;
  auto kernel = is_large ? multiply_float<8> : multiply_float<4>;
  if (p.compute == Compute::kBFloat16)
    kernel =
        is_large ? bf16_kernel<128>(a_along_k, b_along_k) : bf16_kernel<64>(a_along_k, b_along_k);
  const unsigned threads = p.compute == Compute::kBFloat16 ? 128 : 256;
  dim3 grid(static_cast<unsigned>(ceil_div(p.n, size)), static_cast<unsigned>(ceil_div(p.m, size)),
            1);
  check(grid.y <= 65535, "matmul: ", p.m, " rows are more than one product on cuda takes");
  for (int64_t first = 0; first < matrices; first += 65535) {
    grid.z = static_cast<unsigned>(min_of(65535, matrices - first));
    launch(kernel, grid, dim3(threads), 0, Part{p, first});
  }
}

void matmul(const MatmulArguments& args) {
  const auto operand = [](const MatmulOperand& x) {
    return ProductOperand{x.data, x.dtype, x.row_stride, x.column_stride, 0, x.batch_stride, 1};
  };
  check(args.prepacked_b == nullptr, "matmul: a prepacked matrix belongs to the CPU");
  Product p;
  p.m = args.m;
  p.n = args.n;
  p.k = args.k;
  p.inner = args.batch;
  p.a = operand(args.a);
  p.b = operand(args.b);
  p.a_tail = operand(args.a_tail);
  p.b_tail = operand(args.b_tail);
  p.tail_k = args.tail_k;
  p.c = {args.c, args.c_dtype, args.c_row_stride, 1, 0, args.c_batch_stride, 1};
  p.compute = args.compute;
  p.alpha = args.alpha;
  p.beta = args.beta;
  p.bias = args.bias;
  p.bias_dtype = args.bias_dtype;
  multiply(p);
}

namespace {

// Sources, sinks and prepacked matrices are the CPU's (cpu/gemm.h).
[[noreturn]] void refuse(const char* what) {
  fail("gemm: ", what, " is not available on cuda; run it on cpu");
}

}  // namespace

const GemmKernels kGemmKernels = {
    .gemm = [](const GemmArguments&) { refuse("a product with sources and sinks"); },
    .matmul = matmul,
    .matmul_each =
        [](const MatmulArguments* products, int64_t count) {
          for (int64_t i = 0; i < count; ++i) matmul(products[i]);
        },
    .layout = [](Compute) -> GemmLayout { refuse("a layout of panels"); },
    .pack_dense = [](Compute, const DenseOperand&,
                     const GemmPanels&) { refuse("packing into panels"); },
    .prepacked_bytes = [](Compute, int64_t, int64_t) -> size_t { refuse("a prepacked matrix"); },
    .prepack = [](Compute, int64_t, int64_t, const GemmSource&,
                  void*) { refuse("a prepacked matrix"); },
};

}  // namespace fms_accel::cuda
