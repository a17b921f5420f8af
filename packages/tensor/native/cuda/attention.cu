// Attention that flash_attention.cu does not take (products in float32, wide heads): a block of
// queries at a time, for all heads together: scores by one product, masked
// softmax in place, values by a second product. A block's scores take at most kScoreBytes. Backward
// recomputes the scores from q, k and the saved log-sum-exp (Dao et al., "FlashAttention", 2022,
// section 3.1), and adds the gradients of keys and values up in a fixed order.
#include "cpu/attention.h"
#include "cuda/elements.h"
#include "cuda/flash_attention.h"
#include "cuda/flash_tiles.h"
#include "cuda/kernel_sources.h"
#include "cuda/product.h"
#include "cuda/reduction.h"

namespace fms_accel::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kScoreBytes = int64_t{256} << 20;

// Queries [first, first + rows) and the keys [key_begin, key_end) that they see.
struct Block {
  int64_t first, rows, key_begin, key_end;
  __device__ __forceinline__ int64_t keys() const { return key_end - key_begin; }
};

// Row (b, h, i) of a launch over batch * heads * rows blocks.
struct Row {
  int64_t batch, head, query, score;  // score: of its first element in the scores
};
__device__ __forceinline__ Row row_of(const AttentionArguments& p, const Block& block) {
  const int64_t row = static_cast<int64_t>(blockIdx.x), i = row % block.rows,
                pair = row / block.rows;
  return {pair / p.heads, pair % p.heads, block.first + i, row * block.keys()};
}

// The score after the cap; -inf where key j is invisible.
__device__ __forceinline__ float masked(const AttentionArguments& p, const Row& row,
                                        const KeyRange& visible, int64_t j, float score) {
  if (j < visible.begin || j >= visible.end) return -infinity();
  if (p.key_mask != nullptr && p.key_mask[row.batch * p.keys + j] == 0) return -infinity();
  if (p.query_segments != nullptr &&
      p.query_segments[row.batch * p.queries + row.query] != p.key_segments[row.batch * p.keys + j])
    return -infinity();
  return p.soft_cap > 0 ? p.soft_cap * tanhf(score / p.soft_cap) : score;
}

// scores [batch, heads, rows, keys of the block]: e^(score - largest) in place, what makes
// probabilities of them, and the log-sum-exp. The largest weight is 1, which every dtype of a
// product holds exactly.
__global__ void __launch_bounds__(kThreads)
    softmax_scores(AttentionArguments p, Block block, float* scores, float* factors) {
  const Row row = row_of(p, block);
  const KeyRange visible = keys_of_row(p, row.query);
  float* own = scores + row.score;
  float largest = -infinity();
  bool has_nan = false;
  for (int64_t j = threadIdx.x; j < block.keys(); j += kThreads) {
    const float score = masked(p, row, visible, block.key_begin + j, own[j]);
    own[j] = score;
    has_nan = has_nan || score != score;
    largest = score > largest ? score : largest;
  }
  largest = block_join<Largest<float>, kThreads>(has_nan ? not_a_number() : largest);
  const bool sees_nothing = largest == -infinity();
  float sum = 0;
  for (int64_t j = threadIdx.x; j < block.keys(); j += kThreads) {
    const float weight = sees_nothing ? 0.0f : expf(own[j] - largest);
    own[j] = weight;
    sum += weight;
  }
  sum = block_join<Sum<float>, kThreads>(sum);
  if (threadIdx.x == 0) {
    factors[blockIdx.x] = sees_nothing ? 0.0f : 1.0f / sum;
    p.lse[(row.batch * p.heads + row.head) * p.queries + row.query] =
        sees_nothing ? infinity() : largest + logf(sum);
  }
}

__device__ __forceinline__ int64_t offset_of(const AttentionTensor& x, const Row& row) {
  return row.batch * x.batch_stride + row.head * x.head_stride + row.query * x.token_stride;
}

// In place of scores and of the gradient of the probabilities: the probabilities, and the gradient
// of q · k.
__global__ void __launch_bounds__(kThreads)
    softmax_gradient_scores(AttentionArguments p, Block block, float* scores, float* slopes) {
  const Row row = row_of(p, block);
  const KeyRange visible = keys_of_row(p, row.query);
  const int64_t out_at = offset_of(p.out, row), gradient_at = offset_of(p.out_gradient, row);
  float product = 0;
  for (int64_t d = threadIdx.x; d < p.value_dim; d += kThreads) {
    product += load<float>(p.out.data, p.out.dtype, out_at + d) *
               load<float>(p.out_gradient.data, p.out_gradient.dtype, gradient_at + d);
  }
  const float delta = block_join<Sum<float>, kThreads>(product);
  const float lse = p.lse[(row.batch * p.heads + row.head) * p.queries + row.query];
  float* own = scores + row.score;
  float* slope = slopes + row.score;
  for (int64_t j = threadIdx.x; j < block.keys(); j += kThreads) {
    const float score = masked(p, row, visible, block.key_begin + j, own[j]);
    const float weight = expf(score - lse);
    float gradient = weight * (slope[j] - delta) * p.scale;
    if (p.soft_cap > 0) {
      const float capped = score / p.soft_cap;
      gradient = weight > 0 ? gradient * (1.0f - capped * capped) : 0.0f;
    }
    own[j] = weight;
    slope[j] = gradient;
  }
}

// Zeros for rows that see no key: out, or the gradient of q.
__global__ void __launch_bounds__(kThreads)
    clear_rows(AttentionArguments p, Block block, AttentionTensor x, int64_t width, bool sets_lse) {
  const Row row = row_of(p, block);
  for (int64_t d = threadIdx.x; d < width; d += kThreads)
    store<float>(x.data, x.dtype, offset_of(x, row) + d, 0.0f);
  if (sets_lse && threadIdx.x == 0)
    p.lse[(row.batch * p.heads + row.head) * p.queries + row.query] = infinity();
}

// float32 sums [batch, heads, tokens, width] to a tensor.
__global__ void __launch_bounds__(kThreads)
    narrow(const float* from, AttentionTensor to, int64_t heads, int64_t tokens, int64_t width) {
  const int64_t token = blockIdx.x % tokens, pair = blockIdx.x / tokens;
  const int64_t at =
      pair / heads * to.batch_stride + pair % heads * to.head_stride + token * to.token_stride;
  for (int64_t d = threadIdx.x; d < width; d += kThreads)
    store<float>(to.data, to.dtype, at + d, from[blockIdx.x * width + d]);
}

dim3 blocks(int64_t count) { return dim3(static_cast<unsigned>(count)); }

void* advance(const AttentionTensor& x, int64_t elements) {
  return static_cast<char*>(x.data) + elements * static_cast<int64_t>(item_size(x.dtype));
}

// Tokens from `first` on as the rows of a batched operand, [batch, heads].
ProductOperand rows_of(const AttentionTensor& x, int64_t first, int64_t divisor = 1) {
  return {advance(x, first * x.token_stride),
          x.dtype,
          x.token_stride,
          1,
          x.batch_stride,
          x.head_stride,
          divisor};
}
ProductOperand transposed(ProductOperand x) {
  const int64_t row_stride = x.row_stride;
  x.row_stride = x.column_stride;
  x.column_stride = row_stride;
  return x;
}

// The queries of a pass, block by block.
template <class Body>
void for_each_block(const AttentionArguments& p, int64_t buffers, const Body& body) {
  const int64_t row_bytes = p.batch * p.heads * max_of(p.keys, 1) * 4 * buffers;
  const int64_t rows = max_of(1, min_of(p.queries, kScoreBytes / row_bytes));
  for (int64_t first = 0; first < p.queries; first += rows) {
    Block block{first, min_of(rows, p.queries - first), 0, 0};
    block.key_begin = keys_of_row(p, first).begin;
    block.key_end = max_of(block.key_begin, keys_of_row(p, first + block.rows - 1).end);
    body(block);
  }
}

Product product_of(const AttentionArguments& p, int64_t m, int64_t n, int64_t k) {
  Product product;
  product.m = m;
  product.n = n;
  product.k = k;
  product.outer = p.batch;
  product.inner = p.heads;
  product.compute = p.compute_bfloat16 ? Compute::kBFloat16 : Compute::kFloat32;
  return product;
}

// Scores of a block as an operand [batch, heads] of [rows, keys].
ProductOperand scores_of(const AttentionArguments& p, const Block& block, float* scores) {
  const int64_t keys = block.key_end - block.key_begin, matrix = block.rows * keys;
  return {scores, DType::kFloat32, keys, 1, p.heads * matrix, matrix, 1};
}

// to [batch, heads, rows, keys] = alpha * x · y^T, x by head, y by head of keys and values.
void score(const AttentionArguments& p, const Block& block, const AttentionTensor& x,
           const AttentionTensor& y, int64_t dim, float alpha, float* to) {
  Product s = product_of(p, block.rows, block.key_end - block.key_begin, dim);
  s.a = rows_of(x, block.first);
  s.b = transposed(rows_of(y, block.key_begin, p.heads / p.kv_heads));
  s.c = scores_of(p, block, to);
  s.alpha = alpha;
  multiply(s);
}

}  // namespace

void attention_forward(const AttentionArguments& p) {
  if (is_flash(p)) return flash_attention_forward(p);
  const int64_t pairs = p.batch * p.heads;
  for_each_block(p, 1, [&](const Block& block) {
    const int64_t keys = block.key_end - block.key_begin, count = pairs * block.rows;
    if (keys == 0) {
      launch(clear_rows, blocks(count), dim3(kThreads), 0, p, block, p.out, p.value_dim, true);
      return;
    }
    const Scratch scratch(static_cast<size_t>(count * (keys + 1)) * sizeof(float));
    float *scores = scratch.as<float>(), *factors = scores + count * keys;
    score(p, block, p.q, p.k, p.head_dim, p.scale, scores);
    launch(softmax_scores, blocks(count), dim3(kThreads), 0, p, block, scores, factors);
    Product o = product_of(p, block.rows, p.value_dim, keys);
    o.a = scores_of(p, block, scores);
    o.b = rows_of(p.v, block.key_begin, p.heads / p.kv_heads);
    o.c = rows_of(p.out, block.first);
    o.row_factors = factors;
    multiply(o);
  });
}

void attention_backward(const AttentionArguments& p) {
  if (is_flash(p)) return flash_attention_backward(p);
  const int64_t pairs = p.batch * p.heads, group = p.heads / p.kv_heads,
                kv_rows = p.batch * p.kv_heads * p.keys;
  if (kv_rows == 0) {
    for_each_block(p, 1, [&](const Block& block) {
      launch(clear_rows, blocks(pairs * block.rows), dim3(kThreads), 0, p, block, p.q_gradient,
             p.head_dim, false);
    });
    return;
  }
  const int64_t k_elements = kv_rows * p.head_dim, v_elements = kv_rows * p.value_dim;
  const Scratch sums(static_cast<size_t>(k_elements + v_elements) * sizeof(float));
  float *k_sums = sums.as<float>(), *v_sums = k_sums + k_elements;
  require(cudaMemsetAsync(k_sums, 0, static_cast<size_t>(k_elements + v_elements) * sizeof(float),
                          current_stream()));
  for_each_block(p, 2, [&](const Block& block) {
    const int64_t keys = block.key_end - block.key_begin, count = pairs * block.rows;
    if (keys == 0) {
      launch(clear_rows, blocks(count), dim3(kThreads), 0, p, block, p.q_gradient, p.head_dim,
             false);
      return;
    }
    const Scratch scratch(static_cast<size_t>(2 * count * keys) * sizeof(float));
    float *scores = scratch.as<float>(), *slopes = scores + count * keys;
    score(p, block, p.q, p.k, p.head_dim, p.scale, scores);
    score(p, block, p.out_gradient, p.v, p.value_dim, 1, slopes);
    launch(softmax_gradient_scores, blocks(count), dim3(kThreads), 0, p, block, scores, slopes);
    Product dq = product_of(p, block.rows, p.head_dim, keys);
    dq.a = scores_of(p, block, slopes);
    dq.b = rows_of(p.k, block.key_begin, group);
    dq.c = rows_of(p.q_gradient, block.first);
    multiply(dq);
    // sums of keys += weights^T · x, head after head of each group.
    const auto add = [&](float* weights, const AttentionTensor& x, int64_t dim, float* to) {
      for (int64_t g = 0; g < group; ++g) {
        Product product = product_of(p, keys, dim, block.rows);
        product.inner = p.kv_heads;
        product.a = transposed(scores_of(p, block, weights + g * block.rows * keys));
        product.a.inner_stride *= group;
        product.b = rows_of(x, block.first);
        product.b.data = static_cast<const char*>(product.b.data) +
                         g * x.head_stride * static_cast<int64_t>(item_size(x.dtype));
        product.b.inner_stride *= group;
        product.c = {to + block.key_begin * dim, DType::kFloat32, dim, 1,
                     p.kv_heads * p.keys * dim,  p.keys * dim,    1};
        product.beta = 1;
        multiply(product);
      }
    };
    add(scores, p.out_gradient, p.value_dim, v_sums);
    add(slopes, p.q, p.head_dim, k_sums);
  });
  launch(narrow, blocks(kv_rows), dim3(kThreads), 0, k_sums, p.k_gradient, p.kv_heads, p.keys,
         p.head_dim);
  launch(narrow, blocks(kv_rows), dim3(kThreads), 0, v_sums, p.v_gradient, p.kv_heads, p.keys,
         p.value_dim);
}

}  // namespace fms_accel::cuda
