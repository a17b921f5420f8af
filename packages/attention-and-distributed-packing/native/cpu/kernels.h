// What the attention kernels of one instruction set offer, and what they are given. They know no
// tensors, no threads and no memory but what is handed to them: native/ops splits the work.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fms_accel {

constexpr int64_t kMostHeadDim = 256;

enum class DType : uint8_t { kFloat32, kBFloat16, kFloat16 };

// [tokens, heads, head_dim]; the numbers of one head are contiguous, strides are in elements.
struct TokenTensor {
  void* data = nullptr;
  DType dtype = DType::kFloat32;
  int64_t token_stride = 0, head_stride = 0;
};

// Query head h reads key-value head h / (heads / kv_heads). Token i of a sequence sees token j of
// the same sequence where j <= i (causal) and |i - j| < window (window > 0).
//   score = cap(scale * q . k),  cap(x) = soft_cap > 0 ? soft_cap * tanh(x / soft_cap) : x
struct Attention {
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  bool is_causal = true;
  int64_t window = 0;
  float scale = 1, soft_cap = 0;
  // Operands of the products are rounded to bfloat16 where the machine multiplies those.
  bool in_bfloat16 = false;

  TokenTensor q, k, v, out;
  // ln of the sum of exp(score), [tokens, heads]. Written by forward, read by backward.
  float* lse = nullptr;

  // ---- Backward only. `out` is read.
  TokenTensor out_gradient, q_gradient, k_gradient, v_gradient;
  float* delta = nullptr;   // [tokens, heads]: the sum of out_gradient * out
  float* dq_sum = nullptr;  // [tokens, heads, head_dim]: q_gradient / scale, as far as it is summed
};

struct Sequence {
  int64_t first_token, length;
};

// Query rows of a key-value head: row r is query head r % group of token r / group, where `group`
// query heads share the key-value head.
struct QueryItem {
  Sequence sequence;
  int64_t kv_head;
  int64_t first_row, rows;  // first_row is a multiple of the kernels' row_granularity
};

// Who may add to the sum of a block of query gradients: keys in rising order, so that the sums are
// the same for any number of threads.
class Turns;

// A chunk of keys of a key-value head. The item owns their gradients.
struct KeyItem {
  Sequence sequence;
  int64_t kv_head;
  int64_t chunk, chunk_keys;  // keys [chunk * chunk_keys, (chunk + 1) * chunk_keys)
  int64_t first_turn;         // where the turns of this head's row blocks begin
};

struct AttentionKernels {
  // A QueryItem's rows are best a multiple of row_granularity and at most most_rows.
  int64_t row_granularity, most_rows;
  // chunk_keys is a multiple of key_granularity, or at least the sequence's length: then no bit
  // depends on it. Blocks of row_block rows take turns.
  int64_t key_granularity, row_block;

  // Writes `out` and `lse` of the item's rows. `scratch` has forward_scratch(a, rows) bytes, is
  // 64-byte aligned.
  void (*forward)(const Attention&, const QueryItem&, void* scratch);
  size_t (*forward_scratch)(const Attention&, int64_t rows);

  // Writes `delta` of tokens [first, end).
  void (*output_dots)(const Attention&, int64_t first, int64_t end);
  // Writes k_gradient and v_gradient of the item's keys, adds to q_gradient. `scratch` has
  // backward_scratch(a, keys) bytes, where no item has more keys; it is 64-byte aligned.
  void (*backward)(const Attention&, const KeyItem&, Turns&, void* scratch);
  size_t (*backward_scratch)(const Attention&, int64_t keys);
};

}  // namespace fms_accel
