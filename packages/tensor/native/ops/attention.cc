#include "ops/attention.h"

#include <cmath>

#include "cpu/attention.h"
#include "engine/error.h"
#include "ops/iteration.h"

namespace fms_accel::ops {
namespace {

Tensor with_contiguous_rows(const Tensor& x) {
  return x.stride(-1) == 1 || x.size(-1) == 1 ? x : contiguous(x);
}

// Also with strides of heads and tokens that are whole rows: what a projection gives when its heads
// are split off.
Tensor with_whole_rows(const Tensor& x) {
  const bool is_whole = x.ndim == 4 && x.shape[3] > 0 && x.stride(-1) == 1 &&
                        x.strides[1] % x.shape[3] == 0 && x.strides[2] % x.shape[3] == 0 &&
                        x.shape[1] * x.strides[1] + x.shape[2] * x.strides[2] < (int64_t{1} << 31);
  return is_whole ? x : contiguous(x);
}

AttentionTensor pointer(const Tensor& x) {
  return {x.raw(), x.dtype, x.strides[0], x.strides[1], x.strides[2]};
}

// [B, H, T, D] that lies in memory as [B, T, H, D].
Tensor heads_inside(int64_t batch, int64_t heads, int64_t tokens, int64_t dim, DType dtype,
                    Device device) {
  Tensor x = empty({batch, tokens, heads, dim}, dtype, device);
  std::swap(x.shape[1], x.shape[2]);
  std::swap(x.strides[1], x.strides[2]);
  return x;
}

void check_mask(const char* name, const Tensor* mask, int64_t batch, int64_t tokens,
                bool is_integer, const Tensor& q) {
  if (mask == nullptr) return;
  const bool dtype_fits = is_integer ? mask->dtype == DType::kInt32
                                     : mask->dtype == DType::kBool || mask->dtype == DType::kUint8;
  check(mask->ndim == 2 && mask->shape[0] == batch && mask->shape[1] == tokens && dtype_fits &&
            mask->is_contiguous(),
        "scaledDotProductAttention: expected ", name, " as contiguous ",
        is_integer ? "int32" : "bool", " [", batch, ", ", tokens, "], found ", name_of(mask->dtype),
        " ", shape_of(*mask));
  check_same_device("scaledDotProductAttention", {&q, mask});
}

AttentionArguments arguments_of(const Tensor& q, const Tensor& k, const Tensor& v,
                                const AttentionOptions& options) {
  for (const Tensor* x : {&q, &k, &v}) {
    check(x->ndim == 4 && is_floating(x->dtype),
          "scaledDotProductAttention: expected floating [batch, heads, tokens, dim], found ",
          name_of(x->dtype), " ", shape_of(*x));
  }
  check(k.shape[0] == q.shape[0] && v.shape[0] == q.shape[0] && v.shape[1] == k.shape[1] &&
            v.shape[2] == k.shape[2] && k.shape[3] == q.shape[3] &&
            (k.shape[1] > 0 ? q.shape[1] % k.shape[1] == 0 : q.shape[1] == 0),
        "scaledDotProductAttention: shapes ", shape_of(q), ", ", shape_of(k), ", ", shape_of(v),
        " do not fit together");
  check(q.shape[3] > 0 && v.shape[3] > 0,
        "scaledDotProductAttention: the dimension of a head must not be 0");
  check(q.shape[1] <= kMostHeadsOfGroup * k.shape[1], "scaledDotProductAttention: at most ",
        kMostHeadsOfGroup, " query heads share a key-value head, found ", q.shape[1], " for ",
        k.shape[1]);
  check_same_device("scaledDotProductAttention", {&q, &k, &v});
  AttentionArguments p;
  p.batch = q.shape[0];
  p.heads = q.shape[1];
  p.kv_heads = k.shape[1];
  p.queries = q.shape[2];
  p.keys = k.shape[2];
  p.head_dim = q.shape[3];
  p.value_dim = v.shape[3];
  p.q = pointer(q);
  p.k = pointer(k);
  p.v = pointer(v);
  check(std::isfinite(options.scale) && options.soft_cap >= 0 && options.window >= 0,
        "scaledDotProductAttention: scale must be finite, softCap and window not negative");
  p.scale = options.scale;
  p.soft_cap = options.soft_cap;
  p.causal = options.causal;
  p.window = options.window;
  p.compute_bfloat16 = options.compute_bfloat16;
  check_mask("keyMask", options.key_mask, p.batch, p.keys, false, q);
  check_mask("querySegments", options.query_segments, p.batch, p.queries, true, q);
  check_mask("keySegments", options.key_segments, p.batch, p.keys, true, q);
  check((options.query_segments == nullptr) == (options.key_segments == nullptr),
        "scaledDotProductAttention: querySegments and keySegments go together");
  if (options.key_mask) p.key_mask = options.key_mask->data<uint8_t>();
  if (options.query_segments) p.query_segments = options.query_segments->data<int32_t>();
  if (options.key_segments) p.key_segments = options.key_segments->data<int32_t>();
  return p;
}

}  // namespace

AttentionResult attention(const Tensor& q, const Tensor& k, const Tensor& v,
                          const AttentionOptions& options) {
  const Tensor query = with_whole_rows(q), key = with_contiguous_rows(k),
               value = with_contiguous_rows(v);
  AttentionArguments p = arguments_of(query, key, value, options);
  check(is_floating(options.dtype), "scaledDotProductAttention: the result must be floating");
  AttentionResult result{
      heads_inside(p.batch, p.heads, p.queries, p.value_dim, options.dtype, q.device()),
      empty({p.batch, p.heads, p.queries}, DType::kFloat32, q.device())};
  p.out = pointer(result.out);
  p.lse = result.lse.data<float>();
  if (result.lse.numel() > 0) kernels_of(q).attention_forward(p);
  return result;
}

AttentionGradients attention_gradients(const Tensor& q, const Tensor& k, const Tensor& v,
                                       const AttentionResult& result, const Tensor& out_gradient,
                                       const AttentionOptions& options) {
  const Tensor query = with_whole_rows(q), key = with_contiguous_rows(k),
               value = with_contiguous_rows(v);
  const Tensor gradient = with_whole_rows(out_gradient), out = with_contiguous_rows(result.out);
  AttentionArguments p = arguments_of(query, key, value, options);
  check(gradient.sizes() == out.sizes() && is_floating(gradient.dtype) &&
            out.sizes() == Shape({p.batch, p.heads, p.queries, p.value_dim}) &&
            is_floating(out.dtype),
        "scaledDotProductAttention: gradient of shape ", shape_of(gradient),
        " for a result of shape ", shape_of(out));
  check(result.lse.sizes() == Shape({p.batch, p.heads, p.queries}) &&
            result.lse.dtype == DType::kFloat32 && result.lse.is_contiguous(),
        "scaledDotProductAttention: expected the log-sum-exp of the forward pass");
  check_same_device("scaledDotProductAttention", {&q, &gradient, &out, &result.lse});
  AttentionGradients gradients{
      heads_inside(p.batch, p.heads, p.queries, p.head_dim, q.dtype, q.device()),
      heads_inside(p.batch, p.kv_heads, p.keys, p.head_dim, k.dtype, k.device()),
      heads_inside(p.batch, p.kv_heads, p.keys, p.value_dim, v.dtype, v.device()),
  };
  p.out = pointer(out);
  p.lse = result.lse.data<float>();
  p.out_gradient = pointer(gradient);
  p.q_gradient = pointer(gradients.q);
  p.k_gradient = pointer(gradients.k);
  p.v_gradient = pointer(gradients.v);
  if (p.batch > 0 && p.heads > 0) kernels_of(q).attention_backward(p);
  return gradients;
}

}  // namespace fms_accel::ops
