// Rows of heads in shared memory, and results that leave registers.
#pragma once
#include "cuda/sequences.h"
#include "cuda/steps.h"

namespace fms_accel::cuda {

template <class Step, int Dim>
constexpr int kThreads = 32 * Step::template kWarps<Dim>;
template <class Step, int Dim>
constexpr int kRows = 16 * Step::template kWarps<Dim>;
// Elements of a tile of `Rows` rows.
template <class Step, int Dim, int Rows>
constexpr int kTile = Rows* Step::template kStride<Dim>;

__device__ __forceinline__ float load(const void* data, DType dtype, int64_t i) {
  if (dtype == DType::kFloat32) return static_cast<const float*>(data)[i];
  const uint16_t bits = static_cast<const uint16_t*>(data)[i];
  return dtype == DType::kBFloat16 ? float_of_bf16(bits) : float_of_f16(bits);
}
__device__ __forceinline__ void store(void* data, DType dtype, int64_t i, float value) {
  if (dtype == DType::kFloat32)
    static_cast<float*>(data)[i] = value;
  else
    static_cast<uint16_t*>(data)[i] =
        dtype == DType::kBFloat16 ? bf16_of_float(value) : f16_of_float(value);
}

// One head of a sequence.
struct HeadRows {
  const void* data;
  DType dtype;
  int64_t base, token_stride, length;
  int dim;
  bool is_copied;  // as it lies: the elements of a tile, in whole pieces of 16 bytes
};
template <class Step>
__device__ __forceinline__ HeadRows head_rows(const TokenTensor& x, const Tokens& tokens,
                                              int64_t head, int64_t dim) {
  constexpr int kPiece = 16 / sizeof(typename Step::Element);
  const int64_t base = tokens.begin * x.token_stride + head * x.head_stride;
  const bool is_copied = x.dtype == Step::kDType && dim % kPiece == 0 && base % kPiece == 0 &&
                         x.token_stride % kPiece == 0 &&
                         reinterpret_cast<uintptr_t>(x.data) % 16 == 0;
  return {x.data, x.dtype, base, x.token_stride, tokens.length, static_cast<int>(dim), is_copied};
}

__device__ __forceinline__ int padded(int64_t dim) { return static_cast<int>(dim + 15) / 16 * 16; }

// `Rows` tokens from `first` on; zeros where there is no token and behind the end of a head, up to
// a multiple of 16. Ends with copy_async_commit, copy_async_wait_all and a barrier, which are the
// caller's.
template <class Step, int Rows, int Dim>
__device__ __forceinline__ void load_tile(typename Step::Element* tile, const HeadRows& x,
                                          int64_t first) {
  using Element = typename Step::Element;
  constexpr int kPiece = 16 / sizeof(Element), kPieces = Dim / kPiece;
  for (int i = static_cast<int>(threadIdx.x); i < Rows * kPieces; i += kThreads<Step, Dim>) {
    const int row = i / kPieces, column = i % kPieces * kPiece;
    if (column >= padded(x.dim)) continue;
    Element* to = tile + row * Step::template kStride<Dim> + column;
    const bool is_inside = first + row < x.length && column < x.dim;
    const int64_t at = x.base + (first + row) * x.token_stride + column;
    if (x.is_copied) {
      copy_async_16(to, static_cast<const Element*>(x.data) + (is_inside ? at : 0), is_inside);
      continue;
    }
    float values[kPiece];
#pragma unroll
    for (int e = 0; e < kPiece; ++e)
      values[e] = is_inside && column + e < x.dim ? load(x.data, x.dtype, at + e) : 0.0f;
    Step::put(to, values);
  }
}

template <int Tiles>
__device__ __forceinline__ void clear(float (&sums)[Tiles][4]) {
#pragma unroll
  for (int j = 0; j < Tiles; ++j) {
#pragma unroll
    for (int e = 0; e < 4; ++e) sums[j][e] = 0.0f;
  }
}

// The warp's sums [16, Dim] to tokens from `first` on, row r times factors[r / 8].
template <int Dim>
__device__ __forceinline__ void store_rows(const TokenTensor& x, const Tokens& tokens, int64_t head,
                                           int64_t dim, int64_t first,
                                           const float (&sums)[Dim / 8][4],
                                           const float (&factors)[2]) {
  const int l = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t row = first + l / 4 + 8 * half;
    if (row >= tokens.length) continue;
    const int64_t at = (tokens.begin + row) * x.token_stride + head * x.head_stride;
#pragma unroll
    for (int j = 0; j < Dim / 8; ++j) {
      const int column = j * 8 + l % 4 * 2;
      const float low = sums[j][2 * half] * factors[half],
                  high = sums[j][2 * half + 1] * factors[half];
      if (column < dim) store(x.data, x.dtype, at + column, low);
      if (column + 1 < dim) store(x.data, x.dtype, at + column + 1, high);
    }
  }
}

// body.operator()<Step, Dim>() with what the products of `a` are made of, and the tiles' width.
template <class Body>
void with_step_and_dim(const Attention& a, const Body& body) {
  const auto with_dim = [&]<class Step>() {
    if (a.head_dim <= 64) return body.template operator()<Step, 64>();
    if (a.head_dim <= 128) return body.template operator()<Step, 128>();
    return body.template operator()<Step, 256>();
  };
  const bool is_float16 = a.q.dtype == DType::kFloat16 && a.k.dtype == DType::kFloat16 &&
                          a.v.dtype == DType::kFloat16 && a.out.dtype == DType::kFloat16;
  if (a.in_bfloat16) return with_dim.template operator()<TensorCoreStep<false>>();
  if (is_float16) return with_dim.template operator()<TensorCoreStep<true>>();
  return with_dim.template operator()<Float32Step>();
}

}  // namespace fms_accel::cuda
