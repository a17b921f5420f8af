// Attention forward of few query rows, as in decoding: keys and values are read where they lie,
// because packing them would cost more than the products.
#include "cpu/attention_rows.h"
#include "cpu/gemm.h"
#include "cpu/kernel_sources.h"

namespace fms_accel::FMS_ACCEL_ISA {
namespace {

constexpr int64_t kFewRows = 16;

// C [m, n] = A · B, float32, rows of C `n` apart.
void multiply(const AttentionArguments& p, int64_t m, int64_t n, int64_t k, const DenseOperand& a,
              const DenseOperand& b, float* c) {
  GemmArguments arguments;
  arguments.m = m;
  arguments.n = n;
  arguments.k = k;
  arguments.a.dense = a;
  arguments.b.dense = b;
  arguments.c.data = c;
  arguments.c.row_stride = n;
  arguments.compute = p.compute_bfloat16 ? Compute::kBFloat16 : Compute::kFloat32;
  kGemmKernels.gemm(arguments);
}

// Sets the scores [count] of a row with keys from `first` on that are hidden to -inf.
void hide_keys(const QueryRows& rows, int64_t row, int64_t first, int64_t count, float* scores) {
  const AttentionArguments& p = rows.p;
  const KeyRange keys = keys_of_token(p, rows.token(row));
  const int64_t begin = clamp_of(keys.begin - first, 0, count),
                end = clamp_of(keys.end - first, begin, count);
  for (int64_t j = 0; j < begin; ++j) scores[j] = -kInfinity;
  for (int64_t j = end; j < count; ++j) scores[j] = -kInfinity;
  if (p.key_mask != nullptr) {
    const uint8_t* mask = p.key_mask + rows.batch * p.keys + first;
    for (int64_t j = begin; j < end; ++j) scores[j] = mask[j] != 0 ? scores[j] : -kInfinity;
  }
  if (p.query_segments != nullptr) {
    const int32_t own = p.query_segments[rows.batch * p.queries + rows.token(row)];
    const int32_t* segments = p.key_segments + rows.batch * p.keys + first;
    for (int64_t j = begin; j < end; ++j) scores[j] = segments[j] == own ? scores[j] : -kInfinity;
  }
}

// Results side by side, whatever the instruction set's width.
constexpr int kSums = 16;

float row_maximum(const float* x, int64_t count) {
  float lanes[kSums];
  for (int l = 0; l < kSums; ++l) lanes[l] = -kInfinity;
  int64_t j = 0;
  for (; j + kSums <= count; j += kSums) {
    for (int l = 0; l < kSums; ++l) lanes[l] = x[j + l] > lanes[l] ? x[j + l] : lanes[l];
  }
  float result = -kInfinity;
  for (; j < count; ++j) result = x[j] > result ? x[j] : result;
  for (const float lane : lanes) result = lane > result ? lane : result;
  return result;
}

// x = exp(factor * (x - shift)), returns the sum.
float exponentiate(float* x, int64_t count, float factor, float shift) {
  float lanes[kSums] = {};
  int64_t j = 0;
  for (; j + kSums <= count; j += kSums) {
    for (int l = 0; l < kSums; ++l) {
      x[j + l] = exp_of_nonpositive(factor * (x[j + l] - shift));
      lanes[l] += x[j + l];
    }
  }
  float sum = 0;
  for (; j < count; ++j) sum += x[j] = exp_of_nonpositive(factor * (x[j] - shift));
  for (const float lane : lanes) sum += lane;
  return sum;
}

}  // namespace

bool attention_has_few_rows(const AttentionArguments& p) {
  return p.queries * (p.heads / p.kv_heads) <= kFewRows;
}

void attention_forward_few_rows(const AttentionArguments& p) {
  const float factor = factor_of_scores(p);
  parallel_for(p.batch * p.kv_heads, [&](int64_t item, int thread) {
    const QueryRows rows(p, item / p.kv_heads, item % p.kv_heads);
    const KeyRange keys = rows.keys_of(0, rows.count);
    const int64_t count = keys.end - keys.begin;
    auto* scores = static_cast<float*>(workspace(
        thread, 0, static_cast<size_t>(rows.count * (count + p.value_dim)) * sizeof(float)));
    float *values = scores + rows.count * count, scales[kFewRows];
    int32_t index[kFewRows];
    if (count > 0) {
      multiply(p, rows.count, count, p.head_dim, rows.lanes(p.q, p.head_dim, 0, rows.count, index),
               rows.key_lanes(p.k, keys.begin), scores);
    }
    scale_and_cap(p, rows.count * count, scores);
    for (int64_t r = 0; r < rows.count; ++r) {
      float* own = scores + r * count;
      hide_keys(rows, r, keys.begin, count, own);
      const float largest = row_maximum(own, count), shift = largest == -kInfinity ? 0 : largest;
      const float sum = exponentiate(own, count, factor, shift);
      // A row that sees no key is 0; NaN stays.
      scales[r] = sum == 0 ? 0 : 1.0f / sum;
      p.lse[rows.statistics_index(r)] = sum == 0 ? kInfinity : factor * shift + __builtin_logf(sum);
    }
    if (count > 0) {
      multiply(p, rows.count, p.value_dim, count,
               {scores, DType::kFloat32, count, 1, nullptr, nullptr},
               along(rows.key_lanes(p.v, keys.begin)), values);
    } else {
      for (int64_t j = 0; j < rows.count * p.value_dim; ++j) values[j] = 0;
    }
    for (int64_t r = 0; r < rows.count; ++r)
      narrow_row(values + r * p.value_dim, p.value_dim, scales[r], rows.row_of(p.out, r),
                 p.out.dtype);
  });
}

}  // namespace fms_accel::FMS_ACCEL_ISA
