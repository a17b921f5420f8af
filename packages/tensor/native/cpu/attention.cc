// Attention by blocks of query rows. For each (batch, key-value head, block): scores by one
// product, masked softmax in place, values by a second product. The rows of a block are (token,
// query head of the group): all heads of a group share the packed keys and values, and the
// gradients of these add up over the group inside the products. Backward recomputes the scores from
// q, k and the saved log-sum-exp (Dao et al., "FlashAttention", 2022, section 3.1).
#include "cpu/attention.h"

#include "cpu/elements.h"
#include "cpu/gemm.h"
#include "cpu/kernel_sources.h"
#include "cpu/vector_math.h"
#include "engine/thread_pool.h"

namespace fms_accel::FMS_ACCEL_ISA {

namespace {

// Most rows of a block: enough to pay for packing the keys, few enough that little of the causal
// triangle is computed in vain.
constexpr int64_t kRows = kMostHeadsOfGroup;
constexpr float kInfinity = __builtin_inff();

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

const void* at(const AttentionTensor& t, int64_t batch, int64_t head, int64_t token) {
  const int64_t offset = batch * t.batch_stride + head * t.head_stride + token * t.token_stride;
  return static_cast<const char*>(t.data) + offset * static_cast<int64_t>(item_size(t.dtype));
}

// Keys [begin, end) that query row i may see by position.
struct KeyRange {
  int64_t begin, end;
};
KeyRange keys_of_row(const AttentionArguments& p, int64_t i) {
  const int64_t position = i + p.keys - p.queries;
  KeyRange range{0, p.keys};
  if (p.causal) range.end = larger(0, smaller(p.keys, position + 1));
  if (p.window > 0) range.begin = smaller(range.end, larger(0, position - p.window + 1));
  return range;
}
// What a block of rows [i0, i1) sees in all: ranges of rows move monotonically.
KeyRange keys_of_block(const AttentionArguments& p, int64_t i0, int64_t i1) {
  return {keys_of_row(p, i0).begin, keys_of_row(p, i1 - 1).end};
}

// A row-major matrix as an operand whose rows are the lanes (`by_row`) or the summed dimension
// (`by_column`). `index`, where given, picks the stored row, in units of `row_stride`.
struct Matrix {
  const void* data;
  DType dtype;
  int64_t row_stride;
  const int32_t* index = nullptr;
};
DenseOperand by_row(const Matrix& m) {
  return {m.data, m.dtype, m.row_stride, 1, m.index, nullptr};
}
DenseOperand by_column(const Matrix& m) {
  return {m.data, m.dtype, 1, m.row_stride, nullptr, m.index};
}

// C [m, n] = A · B + beta * C, float32, rows of C `n` apart.
void multiply(const AttentionArguments& p, int64_t m, int64_t n, int64_t k, const DenseOperand& a,
              const DenseOperand& b, float beta, float* c) {
  GemmArguments arguments;
  arguments.m = m;
  arguments.n = n;
  arguments.k = k;
  arguments.a.dense = a;
  arguments.b.dense = b;
  arguments.c.data = c;
  arguments.c.row_stride = n;
  arguments.compute = p.compute_bfloat16 ? Compute::kBFloat16 : Compute::kFloat32;
  arguments.beta = beta;
  kGemmKernels.gemm(arguments);
}

// The queries of one (batch, key-value head), block by block.
struct Blocks {
  const AttentionArguments& p;
  int64_t group, tokens, count;  // heads of a group, tokens of a block, blocks

  explicit Blocks(const AttentionArguments& arguments)
      : p(arguments), group(p.heads / p.kv_heads), tokens(1) {
    while (tokens * 2 * group <= kRows) tokens *= 2;
    count = (p.queries + tokens - 1) / tokens;
  }
  int64_t most_rows() const { return tokens * group; }
};

struct Block {
  int64_t batch, kv_head, first_head, group, first_token, rows;
  KeyRange keys;
  int64_t key_count;

  Block(const Blocks& blocks, int64_t batch_index, int64_t kv_head_index, int64_t index)
      : batch(batch_index),
        kv_head(kv_head_index),
        first_head(kv_head_index * blocks.group),
        group(blocks.group),
        first_token(index * blocks.tokens) {
    const int64_t end = smaller(blocks.p.queries, first_token + blocks.tokens);
    rows = (end - first_token) * group;
    keys = keys_of_block(blocks.p, first_token, end);
    key_count = larger(0, keys.end - keys.begin);
  }
  int64_t token(int64_t row) const { return first_token + row / group; }
  int64_t head(int64_t row) const { return first_head + row % group; }
  int64_t statistics_index(const AttentionArguments& p, int64_t row) const {
    return (batch * p.heads + head(row)) * p.queries + token(row);
  }
  const void* row_of(const AttentionTensor& t, int64_t row) const {
    return at(t, batch, head(row), token(row));
  }

  // The rows of q, or of the gradient. The launcher sees to it that `width` divides the strides of
  // heads and tokens.
  Matrix query_rows(const AttentionTensor& t, int64_t width, int32_t* index) const {
    for (int64_t r = 0; r < rows; ++r) {
      index[r] = static_cast<int32_t>(r / group * (t.token_stride / width) +
                                      r % group * (t.head_stride / width));
    }
    return {at(t, batch, first_head, first_token), t.dtype, width, index};
  }
  Matrix key_rows(const AttentionTensor& t) const {
    return {at(t, batch, kv_head, keys.begin), t.dtype, t.token_stride};
  }
};

// What exponents of scores are multiplied by. A cap acts on scaled scores, and the largest score is
// the largest scaled one only for a positive scale: these are scaled beforehand.
float factor_of_scores(const AttentionArguments& p) {
  return p.soft_cap > 0 || !(p.scale > 0) ? 1.0f : p.scale;
}

// Prepares the products q · k of row i with keys [first, first + count): scales and caps them where
// `factor_of_scores` does not, and sets those of keys that a mask hides to -inf. Returns which of
// them the row may see by position; the others are left alone.
KeyRange mask_row(const AttentionArguments& p, int64_t batch, int64_t i, int64_t first,
                  int64_t count, float* scores) {
  const KeyRange visible = keys_of_row(p, i);
  const int64_t begin = smaller(count, larger(0, visible.begin - first)),
                end = larger(begin, smaller(count, visible.end - first));
  if (p.soft_cap > 0) {
    for (int64_t j = begin; j < end; ++j)
      scores[j] = p.soft_cap * __builtin_tanhf(scores[j] * p.scale / p.soft_cap);
  } else if (!(p.scale > 0)) {
    for (int64_t j = begin; j < end; ++j) scores[j] *= p.scale;
  }
  if (p.key_mask != nullptr) {
    const uint8_t* mask = p.key_mask + batch * p.keys + first;
    for (int64_t j = begin; j < end; ++j) scores[j] = mask[j] != 0 ? scores[j] : -kInfinity;
  }
  if (p.query_segments != nullptr) {
    const int32_t own = p.query_segments[batch * p.queries + i];
    const int32_t* segments = p.key_segments + batch * p.keys + first;
    for (int64_t j = begin; j < end; ++j) scores[j] = segments[j] == own ? scores[j] : -kInfinity;
  }
  return {begin, end};
}

void clear_outside(const KeyRange& range, int64_t count, float* x) {
  for (int64_t j = 0; j < range.begin; ++j) x[j] = 0;
  for (int64_t j = range.end; j < count; ++j) x[j] = 0;
}

// The lanes of a reduction are fixed, so the order of its sum does not depend on the instruction
// set's width.
constexpr int kLanes = 16;

float row_maximum(const float* x, int64_t count) {
  float lanes[kLanes];
  for (int l = 0; l < kLanes; ++l) lanes[l] = -kInfinity;
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    for (int l = 0; l < kLanes; ++l) lanes[l] = x[j + l] > lanes[l] ? x[j + l] : lanes[l];
  }
  float result = -kInfinity;
  for (; j < count; ++j) result = x[j] > result ? x[j] : result;
  for (const float lane : lanes) result = lane > result ? lane : result;
  return result;
}

// x = exp(factor * (x - largest)), returns the sum.
float exponentiate(float* x, int64_t count, float factor, float largest) {
  float lanes[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      x[j + l] = exp_of_nonpositive(factor * (x[j + l] - largest));
      lanes[l] += x[j + l];
    }
  }
  float sum = 0;
  for (; j < count; ++j) sum += x[j] = exp_of_nonpositive(factor * (x[j] - largest));
  for (const float lane : lanes) sum += lane;
  return sum;
}

float dot(const float* a, const float* b, int64_t count) {
  float lanes[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    for (int l = 0; l < kLanes; ++l) lanes[l] += a[j + l] * b[j + l];
  }
  float sum = 0;
  for (; j < count; ++j) sum += a[j] * b[j];
  for (const float lane : lanes) sum += lane;
  return sum;
}

// float values[count] from a stored run.
void widen(const void* from, DType dtype, int64_t count, float* to) {
  with_element(dtype, [&](auto element) {
    using Element = decltype(element);
    const auto* stored = static_cast<const typename Element::Storage*>(from);
    for (int64_t j = 0; j < count; ++j) to[j] = Element::template load<float>(stored[j]);
  });
}
void narrow(const float* from, int64_t count, float factor, const void* to, DType dtype) {
  with_element(dtype, [&](auto element) {
    using Element = decltype(element);
    auto* stored = static_cast<typename Element::Storage*>(const_cast<void*>(to));
    for (int64_t j = 0; j < count; ++j) stored[j] = Element::store(from[j] * factor);
  });
}

// Scratch of one thread, cut into parts of floats.
class Scratch {
 public:
  Scratch(int thread, int64_t floats)
      : next_(static_cast<float*>(workspace(thread, 0, static_cast<size_t>(floats + 64) * 4))) {}
  float* take(int64_t floats) {
    float* part = next_;
    next_ += (floats + 15) / 16 * 16;
    return part;
  }

 private:
  float* next_;
};

}  // namespace

void attention_forward(const AttentionArguments& p) {
  const Blocks blocks(p);
  const float factor = factor_of_scores(p);
  parallel_for(p.batch * p.kv_heads * blocks.count, [&](int64_t item, int thread) {
    // The last blocks see the most keys: they go first, so that threads end together.
    const int64_t index = blocks.count - 1 - item / (p.batch * p.kv_heads),
                  pair = item % (p.batch * p.kv_heads);
    const Block block(blocks, pair / p.kv_heads, pair % p.kv_heads, index);
    const int64_t rows = block.rows, count = block.key_count;
    Scratch scratch(thread, blocks.most_rows() * (count + p.value_dim) + 64);
    float* scores = scratch.take(rows * count);
    float* values = scratch.take(rows * p.value_dim);
    int32_t indices[kRows];
    float factors[kRows];
    if (count > 0) {
      multiply(p, rows, count, p.head_dim, by_row(block.query_rows(p.q, p.head_dim, indices)),
               by_row(block.key_rows(p.k)), 0, scores);
    }
    for (int64_t r = 0; r < rows; ++r) {
      float* row = scores + r * count;
      const KeyRange seen = mask_row(p, block.batch, block.token(r), block.keys.begin, count, row);
      clear_outside(seen, count, row);
      float* own = row + seen.begin;
      const int64_t own_count = seen.end - seen.begin;
      const float maximum = row_maximum(own, own_count);
      float* lse = p.lse + block.statistics_index(p, r);
      if (maximum == -kInfinity) {  // no visible key, or nothing but NaN
        bool has_nan = false;
        for (int64_t j = 0; j < own_count; ++j) {
          has_nan |= own[j] != own[j];
          own[j] = 0;
        }
        factors[r] = has_nan ? __builtin_nanf("") : 0.0f;
        *lse = has_nan ? factors[r] : kInfinity;
        continue;
      }
      const float sum = exponentiate(own, own_count, factor, maximum);
      factors[r] = 1.0f / sum;
      *lse = factor * maximum + __builtin_logf(sum);
    }
    if (count > 0) {
      multiply(p, rows, p.value_dim, count, by_row({scores, DType::kFloat32, count}),
               by_column(block.key_rows(p.v)), 0, values);
    } else {
      for (int64_t j = 0; j < rows * p.value_dim; ++j) values[j] = 0;
    }
    for (int64_t r = 0; r < rows; ++r) {
      narrow(values + r * p.value_dim, p.value_dim, factors[r], block.row_of(p.out, r),
             p.out.dtype);
    }
  });
}

namespace {

// In place of scores s and of the gradient d of the probabilities: the probabilities, and the
// gradient of q · k.
void softmax_gradient(const AttentionArguments& p, int64_t count, float lse, float delta, float* s,
                      float* d) {
  const float factor = factor_of_scores(p);
  if (p.soft_cap > 0) {
    for (int64_t j = 0; j < count; ++j) {
      const float capped = s[j] / p.soft_cap, weight = exp_of_nonpositive(s[j] - lse);
      d[j] = weight > 0 ? weight * (d[j] - delta) * p.scale * (1.0f - capped * capped) : 0.0f;
      s[j] = weight;
    }
    return;
  }
  for (int64_t j = 0; j < count; ++j) {
    const float weight = exp_of_nonpositive(factor * s[j] - lse);
    d[j] = weight * (d[j] - delta) * p.scale;
    s[j] = weight;
  }
}

}  // namespace

void attention_backward(const AttentionArguments& p) {
  const Blocks blocks(p);
  const int64_t widest = p.head_dim + p.value_dim;
  parallel_for(p.batch * p.kv_heads, [&](int64_t item, int thread) {
    const int64_t kv_head = item % p.kv_heads, batch = item / p.kv_heads;
    Scratch scratch(thread, p.keys * widest + blocks.most_rows() * (2 * p.keys + p.head_dim) +
                                2 * widest + 256);
    float* dk = scratch.take(p.keys * p.head_dim);
    float* dv = scratch.take(p.keys * p.value_dim);
    float* probabilities = scratch.take(blocks.most_rows() * p.keys);
    float* slopes = scratch.take(blocks.most_rows() * p.keys);
    float* dq = scratch.take(blocks.most_rows() * p.head_dim);
    float* gradient_row = scratch.take(p.value_dim);
    float* out_row = scratch.take(p.value_dim);
    for (int64_t j = 0; j < p.keys * p.head_dim; ++j) dk[j] = 0;
    for (int64_t j = 0; j < p.keys * p.value_dim; ++j) dv[j] = 0;
    int32_t query_indices[kRows], gradient_indices[kRows];
    for (int64_t index = 0; index < blocks.count; ++index) {
      const Block block(blocks, batch, kv_head, index);
      const int64_t rows = block.rows, count = block.key_count;
      if (count == 0) {
        for (int64_t j = 0; j < rows * p.head_dim; ++j) dq[j] = 0;
      } else {
        const Matrix q = block.query_rows(p.q, p.head_dim, query_indices), k = block.key_rows(p.k),
                     v = block.key_rows(p.v);
        const Matrix g = block.query_rows(p.out_gradient, p.value_dim, gradient_indices);
        multiply(p, rows, count, p.head_dim, by_row(q), by_row(k), 0, probabilities);
        multiply(p, rows, count, p.value_dim, by_row(g), by_row(v), 0, slopes);
        for (int64_t r = 0; r < rows; ++r) {
          widen(block.row_of(p.out_gradient, r), p.out_gradient.dtype, p.value_dim, gradient_row);
          widen(block.row_of(p.out, r), p.out.dtype, p.value_dim, out_row);
          float *s = probabilities + r * count, *d = slopes + r * count;
          const KeyRange seen = mask_row(p, batch, block.token(r), block.keys.begin, count, s);
          clear_outside(seen, count, s);
          clear_outside(seen, count, d);
          softmax_gradient(p, seen.end - seen.begin, p.lse[block.statistics_index(p, r)],
                           dot(gradient_row, out_row, p.value_dim), s + seen.begin, d + seen.begin);
        }
        const Matrix weights{probabilities, DType::kFloat32, count},
            ds{slopes, DType::kFloat32, count};
        multiply(p, rows, p.head_dim, count, by_row(ds), by_column(k), 0, dq);
        multiply(p, count, p.value_dim, rows, by_column(weights), by_column(g), 1,
                 dv + block.keys.begin * p.value_dim);
        multiply(p, count, p.head_dim, rows, by_column(ds), by_column(q), 1,
                 dk + block.keys.begin * p.head_dim);
      }
      for (int64_t r = 0; r < rows; ++r) {
        narrow(dq + r * p.head_dim, p.head_dim, 1, block.row_of(p.q_gradient, r),
               p.q_gradient.dtype);
      }
    }
    for (int64_t j = 0; j < p.keys; ++j) {
      narrow(dk + j * p.head_dim, p.head_dim, 1, at(p.k_gradient, batch, kv_head, j),
             p.k_gradient.dtype);
      narrow(dv + j * p.value_dim, p.value_dim, 1, at(p.v_gradient, batch, kv_head, j),
             p.v_gradient.dtype);
    }
  });
}

}  // namespace fms_accel::FMS_ACCEL_ISA
