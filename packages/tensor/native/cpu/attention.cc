// Attention by blocks of query rows. For each (batch, head, block): scores by one product, masked softmax in place, values by a second
// product. Backward recomputes the scores from q, k and the saved log-sum-exp (Dao et al., "FlashAttention", 2022, section 3.1), with
// one float32 accumulator of dk and dv for each query head; heads of a group are then added in order.
#include "cpu/attention.h"

#include "cpu/elements.h"
#include "cpu/gemm.h"
#include "cpu/kernel_sources.h"
#include "cpu/matmul.h"
#include "cpu/vector_math.h"
#include "engine/thread_pool.h"

namespace fms_accel::FMS_ACCEL_ISA {

namespace {

// Rows of a block: enough to pay for packing the keys, few enough that little of the causal triangle is computed in vain.
constexpr int64_t kBlock = 128;
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

// C [m, n] = alpha * A · B (+ C), all row-major but for `transposed` operands, which are stored the other way round.
struct Matrix {
  const void* data;
  DType dtype;
  int64_t row_stride;
  bool transposed = false;
};
void multiply(const AttentionArguments& p, int64_t m, int64_t n, int64_t k, float alpha, const Matrix& a, const Matrix& b,
              float beta, void* c, DType c_dtype, int64_t c_stride) {
  MatmulArguments arguments;
  arguments.m = m;
  arguments.n = n;
  arguments.k = k;
  arguments.a = {a.data, a.dtype, a.transposed ? 1 : a.row_stride, a.transposed ? a.row_stride : 1, 0};
  arguments.b = {b.data, b.dtype, b.transposed ? 1 : b.row_stride, b.transposed ? b.row_stride : 1, 0};
  arguments.c = c;
  arguments.c_dtype = c_dtype;
  arguments.c_row_stride = c_stride;
  arguments.compute = p.compute_bfloat16 ? Compute::kBFloat16 : Compute::kFloat32;
  arguments.alpha = alpha;
  arguments.beta = beta;
  kGemmKernels.matmul(arguments);
}

// scores[0, count) of row i against keys [first, first + count): caps them and sets those of invisible keys to -inf.
void mask_row(const AttentionArguments& p, int64_t batch, int64_t i, int64_t first, int64_t count, float* scores) {
  if (p.soft_cap > 0) {
    for (int64_t j = 0; j < count; ++j) scores[j] = p.soft_cap * __builtin_tanhf(scores[j] / p.soft_cap);
  }
  const KeyRange visible = keys_of_row(p, i);
  const int64_t begin = smaller(count, larger(0, visible.begin - first)), end = larger(begin, smaller(count, visible.end - first));
  for (int64_t j = 0; j < begin; ++j) scores[j] = -kInfinity;
  for (int64_t j = end; j < count; ++j) scores[j] = -kInfinity;
  if (p.key_mask != nullptr) {
    const uint8_t* mask = p.key_mask + batch * p.keys + first;
    for (int64_t j = begin; j < end; ++j) scores[j] = mask[j] != 0 ? scores[j] : -kInfinity;
  }
  if (p.query_segments != nullptr) {
    const int32_t own = p.query_segments[batch * p.queries + i];
    const int32_t* segments = p.key_segments + batch * p.keys + first;
    for (int64_t j = begin; j < end; ++j) scores[j] = segments[j] == own ? scores[j] : -kInfinity;
  }
}

// The lanes of a reduction are fixed, so the order of its sum does not depend on the instruction set's width.
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

// x = exp(x - shift), returns the sum.
float exponentiate(float* x, int64_t count, float shift) {
  float lanes[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      x[j + l] = exp_of(x[j + l] - shift);
      lanes[l] += x[j + l];
    }
  }
  float sum = 0;
  for (; j < count; ++j) sum += x[j] = exp_of(x[j] - shift);
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
  Scratch(int thread, int64_t floats) : next_(static_cast<float*>(workspace(thread, 0, static_cast<size_t>(floats + 64) * 4))) {}
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
  const int64_t blocks = (p.queries + kBlock - 1) / kBlock, group = p.heads / p.kv_heads;
  parallel_for(p.batch * p.heads * blocks, [&](int64_t item, int thread) {
    const int64_t block = item % blocks, head = item / blocks % p.heads, batch = item / blocks / p.heads;
    const int64_t i0 = block * kBlock, i1 = smaller(p.queries, i0 + kBlock), rows = i1 - i0;
    const KeyRange keys = keys_of_block(p, i0, i1);
    const int64_t count = larger(0, keys.end - keys.begin);
    Scratch scratch(thread, kBlock * (count + p.value_dim) + 64);
    float* scores = scratch.take(rows * count);
    float* values = scratch.take(rows * p.value_dim);
    if (count > 0) {
      multiply(p, rows, count, p.head_dim, p.scale, {at(p.q, batch, head, i0), p.q.dtype, p.q.token_stride},
               {at(p.k, batch, head / group, keys.begin), p.k.dtype, p.k.token_stride, true}, 0, scores, DType::kFloat32, count);
    }
    float factors[kBlock];
    for (int64_t r = 0; r < rows; ++r) {
      float* row = scores + r * count;
      mask_row(p, batch, i0 + r, keys.begin, count, row);
      const float maximum = row_maximum(row, count);
      float* lse = p.lse + (batch * p.heads + head) * p.queries + i0 + r;
      if (maximum == -kInfinity) {  // no visible key, or nothing but NaN
        bool has_nan = false;
        for (int64_t j = 0; j < count; ++j) {
          has_nan |= row[j] != row[j];
          row[j] = 0;
        }
        factors[r] = has_nan ? __builtin_nanf("") : 0.0f;
        *lse = has_nan ? factors[r] : kInfinity;
        continue;
      }
      const float sum = exponentiate(row, count, maximum);
      factors[r] = 1.0f / sum;
      *lse = maximum + __builtin_logf(sum);
    }
    if (count > 0) {
      multiply(p, rows, p.value_dim, count, 1, {scores, DType::kFloat32, count},
               {at(p.v, batch, head / group, keys.begin), p.v.dtype, p.v.token_stride}, 0, values, DType::kFloat32, p.value_dim);
    } else {
      for (int64_t j = 0; j < rows * p.value_dim; ++j) values[j] = 0;
    }
    for (int64_t r = 0; r < rows; ++r) {
      narrow(values + r * p.value_dim, p.value_dim, factors[r], at(p.out, batch, head, i0 + r), p.out.dtype);
    }
  });
}

void attention_backward(const AttentionArguments& p) {
  const int64_t blocks = (p.queries + kBlock - 1) / kBlock, group = p.heads / p.kv_heads;
  const int64_t widest = p.head_dim + p.value_dim;
  float* sums = p.key_value_sums;
  parallel_for(p.batch * p.heads, [&](int64_t item, int thread) {
    const int64_t head = item % p.heads, batch = item / p.heads, kv_head = head / group;
    float* dk = sums + item * p.keys * widest;
    float* dv = dk + p.keys * p.head_dim;
    for (int64_t j = 0; j < p.keys * widest; ++j) dk[j] = 0;
    Scratch scratch(thread, kBlock * (2 * p.keys + 2 * widest) + 256);
    float* probabilities = scratch.take(kBlock * p.keys);
    float* slopes = scratch.take(kBlock * p.keys);
    float* gradient_row = scratch.take(p.value_dim);
    float* out_row = scratch.take(p.value_dim);
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t i0 = block * kBlock, i1 = smaller(p.queries, i0 + kBlock), rows = i1 - i0;
      const KeyRange keys = keys_of_block(p, i0, i1);
      const int64_t count = larger(0, keys.end - keys.begin);
      const Matrix q{at(p.q, batch, head, i0), p.q.dtype, p.q.token_stride};
      const Matrix k{at(p.k, batch, kv_head, keys.begin), p.k.dtype, p.k.token_stride};
      const Matrix v{at(p.v, batch, kv_head, keys.begin), p.v.dtype, p.v.token_stride};
      const Matrix g{at(p.out_gradient, batch, head, i0), p.out_gradient.dtype, p.out_gradient.token_stride};
      const auto transposed = [](Matrix m) {
        m.transposed = true;
        return m;
      };
      void* dq = const_cast<void*>(at(p.q_gradient, batch, head, i0));
      if (count > 0) {
        multiply(p, rows, count, p.head_dim, p.scale, q, transposed(k), 0, probabilities, DType::kFloat32, count);
        multiply(p, rows, count, p.value_dim, 1, g, transposed(v), 0, slopes, DType::kFloat32, count);
      }
      for (int64_t r = 0; r < rows; ++r) {
        float* s = probabilities + r * count;
        float* d = slopes + r * count;
        const float lse = p.lse[(batch * p.heads + head) * p.queries + i0 + r];
        widen(at(p.out_gradient, batch, head, i0 + r), p.out_gradient.dtype, p.value_dim, gradient_row);
        widen(at(p.out, batch, head, i0 + r), p.out.dtype, p.value_dim, out_row);
        const float delta = dot(gradient_row, out_row, p.value_dim);
        mask_row(p, batch, i0 + r, keys.begin, count, s);
        if (p.soft_cap > 0) {
          for (int64_t j = 0; j < count; ++j) {
            const float capped = s[j] / p.soft_cap, weight = exp_of(s[j] - lse);
            d[j] = weight > 0 ? weight * (d[j] - delta) * p.scale * (1.0f - capped * capped) : 0.0f;
            s[j] = weight;
          }
        } else {
          for (int64_t j = 0; j < count; ++j) {
            const float weight = exp_of(s[j] - lse);
            d[j] = weight * (d[j] - delta) * p.scale;
            s[j] = weight;
          }
        }
      }
      const Matrix weights{probabilities, DType::kFloat32, count}, ds{slopes, DType::kFloat32, count};
      multiply(p, rows, p.head_dim, count, 1, ds, k, 0, dq, p.q_gradient.dtype, p.q_gradient.token_stride);
      if (count == 0) continue;
      multiply(p, count, p.value_dim, rows, 1, transposed(weights), g, 1, dv + keys.begin * p.value_dim, DType::kFloat32,
               p.value_dim);
      multiply(p, count, p.head_dim, rows, 1, transposed(ds), q, 1, dk + keys.begin * p.head_dim, DType::kFloat32, p.head_dim);
    }
  });
  parallel_for(p.batch * p.kv_heads, [&](int64_t item, int thread) {
    const int64_t kv_head = item % p.kv_heads, batch = item / p.kv_heads;
    Scratch scratch(thread, widest + 64);
    float* row = scratch.take(widest);
    for (int64_t j = 0; j < p.keys; ++j) {
      for (int64_t c = 0; c < widest; ++c) row[c] = 0;
      for (int64_t h = 0; h < group; ++h) {
        const float* dk = sums + (batch * p.heads + kv_head * group + h) * p.keys * widest;
        const float* dv = dk + p.keys * p.head_dim;
        for (int64_t c = 0; c < p.head_dim; ++c) row[c] += dk[j * p.head_dim + c];
        for (int64_t c = 0; c < p.value_dim; ++c) row[p.head_dim + c] += dv[j * p.value_dim + c];
      }
      narrow(row, p.head_dim, 1, at(p.k_gradient, batch, kv_head, j), p.k_gradient.dtype);
      narrow(row + p.head_dim, p.value_dim, 1, at(p.v_gradient, batch, kv_head, j), p.v_gradient.dtype);
    }
  });
}

}  // namespace fms_accel::FMS_ACCEL_ISA
