// General matrix product, C[m,n] = alpha * A[m,k] * B[k,n] + beta * C + bias[n], sums in float32.
//
// The loop nest is written once, over "sources" and "sinks".
// - A source packs a run of rows of A, or of columns of B, into panels in the order in which the
//   micro-kernel reads them. Dense matrices of any dtype and strides are built in, also with
//   gathered rows. Another format (4-bit weights, a low-rank tail behind a weight) is a function
//   that fills the same panels.
// - A sink takes the finished float32 sums, a tile at a time. A dense C of any floating dtype is
//   built in. Another destination (rows scattered to tokens, a loss over the logits) is a function
//   that is given the tile.
//
// Panels. A panel holds `width` lanes (rows of A or columns of B), step by step of k:
//     word[step * width + lane]
// A step is 32 bits: one float, or, where the instruction set multiplies bfloat16
// (GemmLayout::values_per_step == 2), two bfloat16: k in the low half, k + 1 in the high half, 0
// behind an odd last k. Panels of B are `columns` lanes wide, or `narrow_columns` where that holds
// what is left; lanes without a column are 0. Panels of A have as many lanes as rows.
//
// To write a source, decode at most some 32 x 64 values of the stored matrix into a local buffer,
// as float32 or bfloat16, and let `pack_dense` place them; the instruction set never shows:
//
//     void pack(const void* context, const GemmPanels& p) {
//       for each panel of p, for each 64 values of k, the first of them k0 + offset:
//         decode lanes [first, first + lanes) x these k to float tile[32][64];
//         const DenseOperand dense{tile, DType::kFloat32, /*lane_stride=*/64, /*k_stride=*/1};
//         uint32_t* at = panel + offset / values_per_step * width;
//         kernels.pack_dense(compute, dense, {at, 0, lanes, width, width, 0, 64});
//     }
//
// Sums. Element (i, j) is the sum over k in rising order, in blocks whose bounds depend on k alone,
// each block from 0. So its bits depend on row i of A, column j of B and k (and the instruction
// set), never on m, n, the number of threads, on prepacking or on the strides. NaN and infinity
// propagate as in the written-out sum.
#pragma once
#include <cstddef>
#include <cstdint>

#include "engine/dtype.h"

namespace fms_accel {

// What operands are rounded to before they are multiplied. Where the instruction set has no
// bfloat16 product, operands are rounded to bfloat16 while they are packed and multiplied in
// float32.
enum class Compute : int32_t { kFloat32, kBFloat16 };

// Element (lane, k) is data[lane * lane_stride + k * k_stride]; a lane is a row of A or a column of
// B. Strides are in elements and may be 0 or negative; packing is fast when one of them is 1. An
// index, where given, replaces the lane, or k, by index[lane], or index[k]: a gather without a
// copy.
struct DenseOperand {
  const void* data = nullptr;
  DType dtype = DType::kFloat32;  // a floating dtype
  int64_t lane_stride = 0, k_stride = 0;
  const int32_t* lane_index = nullptr;
  const int32_t* k_index = nullptr;
};

// What a source is asked for: lanes [first, first + count) and k in [k0, k0 + kc) as consecutive
// panels at `to`, each `width` lanes wide, the last one `last_width`. `k0` is a multiple of 64.
// Calls come from several threads at once, in no certain order.
struct GemmPanels {
  uint32_t* to;
  int64_t first, count, width, last_width, k0, kc;
  // For a part of the k of panels that hold more: steps of a panel (0: just those of kc), and the
  // step of it that k0 is.
  int64_t panel_steps = 0, first_step = 0;
};

struct GemmSource {
  DenseOperand dense;  // used when `pack` and `prepacked` are null
  // Where tail_k > 0, the last tail_k values of k are those of another matrix, `tail`: [A | A'] ·
  // [B ; B'] in one product. What lies before them must be a multiple of
  // GemmLayout::values_per_step.
  DenseOperand tail;
  int64_t tail_k = 0;
  void (*pack)(const void* context, const GemmPanels& panels) = nullptr;
  const void* context = nullptr;
  const void* prepacked = nullptr;  // B only: what GemmKernels::prepack wrote
};

// Finished sums of rows [row, row + rows) and columns [column, column + columns): values[i * stride
// + j].
struct GemmTile {
  int64_t row, rows, column, columns, stride;
  const float* values;
};

struct GemmSink {
  void* data = nullptr;
  DType dtype = DType::kFloat32;
  int64_t row_stride = 0,
          column_stride = 1;  // in elements; rows of C that are contiguous are faster
  // Takes tiles in place of `data`, from several threads, each element once; tiles of the same rows
  // may come together.
  void (*store)(const void* context, const GemmTile& tile) = nullptr;
  const void* context = nullptr;
};

struct GemmArguments {
  int64_t m = 0, n = 0, k = 0;
  GemmSource a, b;
  GemmSink c;
  Compute compute = Compute::kFloat32;
  float alpha = 1, beta = 0;   // beta = 0 never reads C; it must be 0 for a `store` sink
  const void* bias = nullptr;  // [n]
  DType bias_dtype = DType::kFloat32;
};

struct GemmLayout {
  int32_t rows;            // lanes of the largest panel of A
  int32_t columns;         // lanes of a panel of B
  int32_t narrow_columns;  // lanes of a narrow one
  int32_t values_per_step;
};

struct MatmulArguments;  // cpu/matmul.h

// One table for each instruction set. All functions split their work over the engine's threads.
struct GemmKernels {
  void (*gemm)(const GemmArguments&);
  void (*matmul)(const MatmulArguments&);
  // Products that share nothing; small ones side by side. Each has the bits that `matmul` gives it.
  void (*matmul_each)(const MatmulArguments* products, int64_t count);
  GemmLayout (*layout)(Compute);
  void (*pack_dense)(Compute, const DenseOperand&, const GemmPanels&);
  // A B [k, n] that is multiplied often, packed once: `prepacked_bytes` bytes, 64-byte aligned. The
  // contents belong to one instruction set, compute type, n and k; `gemm` throws Error for a buffer
  // that was made for others.
  size_t (*prepacked_bytes)(Compute, int64_t n, int64_t k);
  void (*prepack)(Compute, int64_t n, int64_t k, const GemmSource& b, void* to);
};

}  // namespace fms_accel
