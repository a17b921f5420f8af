#include "ops/variable_length_attention.h"

#include <atomic>
#include <cmath>
#include <limits>

#include "cpu/turns.h"
#include "ops/device_attention.h"
#include "ops/work_items.h"

namespace fms_accel::ops {
namespace {

constexpr const char* kName = "variableLengthAttention";

DType dtype_of(const TensorView& x, const char* what) {
  if (x.is(kFloat32Type)) return DType::kFloat32;
  if (x.is(kBFloat16Type)) return DType::kBFloat16;
  check(x.is(kFloat16Type), kName, ": expected ", what, " as float32, bfloat16 or float16, found ",
        name_of(x.dtype));
  return DType::kFloat16;
}

// [tokens, heads, dim] with whole heads.
TokenTensor token_tensor(const TensorView& x, const char* what) {
  check(x.ndim == 3, kName, ": expected ", what, " as [tokens, heads, head_dim], found ",
        shape_of(x));
  check(x.stride(2) == 1 || x.size(2) <= 1, kName, ": the heads of ", what,
        " must be contiguous; call contiguous() first");
  return {x.data, dtype_of(x, what), x.stride(0), x.stride(1)};
}

TokenTensor contiguous_tensor(const NewTensor& x, DType dtype, int64_t heads, int64_t dim) {
  return {x.data(), dtype, heads * dim, dim};
}

void check_form(const TensorView& cu_seqlens) {
  check(cu_seqlens.ndim == 1 && cu_seqlens.size(0) > 0 && cu_seqlens.is(kInt32Type) &&
            (cu_seqlens.stride(0) == 1 || cu_seqlens.size(0) == 1),
        kName, ": expected cuSeqlens as contiguous int32 [sequences + 1], found ",
        name_of(cu_seqlens.dtype), " ", shape_of(cu_seqlens));
}

std::string expected_bounds(int64_t tokens) {
  return std::string(kName) + ": cuSeqlens must rise from 0 to the number of tokens, " +
         std::to_string(tokens);
}

std::vector<Sequence> sequences_of(const TensorView& cu_seqlens, int64_t tokens, int64_t group) {
  check_form(cu_seqlens);
  const auto* bounds = static_cast<const int32_t*>(cu_seqlens.data);
  const int64_t count = cu_seqlens.size(0) - 1;
  std::vector<Sequence> sequences;
  for (int64_t s = 0; s <= count; ++s) {
    const bool is_right = (s == 0 ? bounds[s] == 0 : bounds[s] >= bounds[s - 1]) &&
                          (s < count || bounds[s] == tokens);
    check(is_right, expected_bounds(tokens), ", found ", bounds[s], " at ", s);
    if (s == 0 || bounds[s] == bounds[s - 1]) continue;
    const int64_t length = int64_t{bounds[s]} - bounds[s - 1];
    check(length <= std::numeric_limits<int32_t>::max() / group, kName, ": a sequence of ", length,
          " tokens is too long for ", group, " query heads to a key-value head");
    sequences.push_back({bounds[s - 1], length});
  }
  return sequences;
}

DeviceSequences device_sequences_of(const TensorView& cu_seqlens, const TensorView& q) {
  check_form(cu_seqlens);
  check(q.size(0) <= std::numeric_limits<int32_t>::max() && q.size(1) <= 65535, kName, ": q ",
        shape_of(q), " is too large for the device");
  return {q.device, static_cast<const int32_t*>(cu_seqlens.data), cu_seqlens.size(0) - 1,
          q.size(0)};
}

std::string device_name(fms_accel_device device) {
  return is_cuda(device) ? "cuda:" + std::to_string(device.device_id) : "cpu";
}

void check_options(const AttentionOptions& options) {
  // Within these bounds no score of finite operands meets the numbers that stand for hidden keys.
  check(options.scale >= 1e-12f && options.scale <= 1e6f, kName,
        ": expected a scale between 1e-12 and 1e6, found ", options.scale);
  check(std::isfinite(options.soft_cap) && options.soft_cap >= 0, kName,
        ": expected a soft cap that is positive, or 0 for none, found ", options.soft_cap);
  check(options.window >= 0, kName,
        ": expected a window of at least one token, or 0 for none, found ", options.window);
}

void check_device(const TensorView& x, const TensorView& q, const char* what) {
  check(x.device.device_type == q.device.device_type && x.device.device_id == q.device.device_id,
        kName, ": expected ", what, " on q's device, ", device_name(q.device), ", found it on ",
        device_name(x.device));
}

// Operands and options that both passes share, checked.
Attention attention_of(const AttentionOperands& operands, const AttentionOptions& options) {
  const TensorView &q = operands.q, &k = operands.k, &v = operands.v;
  Attention a;
  a.q = token_tensor(q, "q");
  a.k = token_tensor(k, "k");
  a.v = token_tensor(v, "v");
  a.heads = q.size(1);
  a.kv_heads = k.size(1);
  a.head_dim = q.size(2);
  check(
      k.size(0) == q.size(0) && v.size(0) == q.size(0) && v.size(1) == k.size(1) &&
          k.size(2) == q.size(2) && v.size(2) == q.size(2),
      kName, ": q ", shape_of(q), ", k ", shape_of(k), " and v ", shape_of(v),
      " do not fit together: expected the same tokens and head dimensions, and as many heads of k "
      "as of v");
  for (const auto& [x, what] : {std::pair{&k, "k"}, {&v, "v"}, {&operands.cu_seqlens, "cuSeqlens"}})
    check_device(*x, q, what);
  check(a.kv_heads > 0 && a.heads > 0 && a.heads % a.kv_heads == 0, kName, ": ", a.heads,
        " query heads cannot share ", a.kv_heads, " key-value heads evenly");
  check(a.head_dim > 0 && a.head_dim <= kMostHeadDim, kName,
        ": expected a head dimension from 1 to ", kMostHeadDim, ", found ", a.head_dim);
  check_options(options);
  a.is_causal = options.is_causal;
  a.window = options.window;
  a.scale = options.scale;
  a.soft_cap = options.soft_cap;
  a.in_bfloat16 = options.in_bfloat16;
  return a;
}

void check_like(const TensorView& x, const TensorView& q, const char* what) {
  check_device(x, q, what);
  check(x.ndim == 3 && x.size(0) == q.size(0) && x.size(1) == q.size(1) && x.size(2) == q.size(2),
        kName, ": expected ", what, " of shape ", shape_of(q), ", found ", shape_of(x));
}

std::vector<int64_t> shape_vector(const TensorView& x) { return {x.shape, x.shape + x.ndim}; }

void check_memory(bool has_memory) { check(has_memory, kName, ": out of memory for scratch"); }

}  // namespace

void fail_on_device(const AttentionOperands& operands, const DeviceError& error) {
  const auto described = [](const TensorView& x) {
    return shape_of(x) + " " + name_of(x.dtype) + " on " + device_name(x.device);
  };
  fail(kName, " (q ", described(operands.q), ", k ", described(operands.k), ", v ",
       described(operands.v), ", cuSeqlens ", described(operands.cu_seqlens),
       ") failed on the device: ", error.what());
}

AttentionResult variable_length_attention(const Engine& engine, const AttentionKernels& kernels,
                                          const AttentionOperands& operands,
                                          const AttentionOptions& options) {
  Attention a = attention_of(operands, options);
  const int64_t tokens = operands.q.size(0);
  const fms_accel_device device = operands.q.device;
  AttentionResult result{NewTensor(engine, options.dtype, shape_vector(operands.q), device),
                         NewTensor(engine, kFloat32Type, {tokens, a.heads}, device)};
  TensorView out;
  out.dtype = options.dtype;
  a.out = contiguous_tensor(result.out, dtype_of(out, "the result"), a.heads, a.head_dim);
  a.lse = static_cast<float*>(result.lse.data());
  if (is_cuda(device)) {
    const DeviceSequences on = device_sequences_of(operands.cu_seqlens, operands.q);
    device_forward(engine, on, expected_bounds(tokens), a);
    return result;
  }

  const std::vector<Sequence> sequences =
      sequences_of(operands.cu_seqlens, tokens, a.heads / a.kv_heads);
  const std::vector<QueryItem> items = split_queries(sequences, a, kernels, engine.num_threads());
  int64_t most_rows = 0;
  for (const QueryItem& item : items) most_rows = std::max(most_rows, item.rows);
  const size_t scratch_bytes = kernels.forward_scratch(a, most_rows);
  std::atomic<bool> has_memory{true};
  engine.parallel_for(static_cast<int64_t>(items.size()), [&](int64_t item, int thread) {
    void* scratch = engine.workspace(thread, scratch_bytes);
    if (scratch == nullptr) {
      has_memory = false;
      return;
    }
    kernels.forward(a, items[static_cast<size_t>(item)], scratch);
  });
  check_memory(has_memory);
  return result;
}

AttentionGradients variable_length_attention_gradients(const Engine& engine,
                                                       const AttentionKernels& kernels,
                                                       const AttentionOperands& operands,
                                                       const TensorView& out, const TensorView& lse,
                                                       const TensorView& out_gradient,
                                                       const AttentionOptions& options) {
  Attention a = attention_of(operands, options);
  const TensorView& q = operands.q;
  const int64_t tokens = q.size(0);
  check_like(out, q, "the result");
  check_like(out_gradient, q, "the gradient");
  a.out = token_tensor(out, "the result");
  a.out_gradient = token_tensor(out_gradient, "the gradient");
  check(lse.ndim == 2 && lse.size(0) == tokens && lse.size(1) == a.heads && lse.is(kFloat32Type) &&
            (tokens == 0 || (lse.stride(1) == 1 && lse.stride(0) == a.heads)),
        kName, ": expected the log-sum-exp of the forward pass, found ", name_of(lse.dtype), " ",
        shape_of(lse));
  check_device(lse, q, "the log-sum-exp");
  a.lse = static_cast<float*>(lse.data);

  const auto gradient_of = [&](const TensorView& x) {
    return NewTensor(engine, x.dtype, shape_vector(x), q.device);
  };
  AttentionGradients gradients{gradient_of(q), gradient_of(operands.k), gradient_of(operands.v)};
  a.q_gradient = contiguous_tensor(gradients.q, a.q.dtype, a.heads, a.head_dim);
  a.k_gradient = contiguous_tensor(gradients.k, a.k.dtype, a.kv_heads, a.head_dim);
  a.v_gradient = contiguous_tensor(gradients.v, a.v.dtype, a.kv_heads, a.head_dim);

  const NewTensor delta(engine, kFloat32Type, {tokens, a.heads}, q.device);
  a.delta = static_cast<float*>(delta.data());
  if (is_cuda(q.device)) {
    const DeviceSequences on = device_sequences_of(operands.cu_seqlens, q);
    device_backward(engine, on, a);
    return gradients;
  }

  const std::vector<Sequence> sequences =
      sequences_of(operands.cu_seqlens, tokens, a.heads / a.kv_heads);
  constexpr int64_t kTokens = 64;  // of an item
  engine.parallel_for((tokens + kTokens - 1) / kTokens, [&](int64_t item, int) {
    kernels.output_dots(a, item * kTokens, std::min(tokens, (item + 1) * kTokens));
  });

  const KeyItems keys = split_keys(sequences, a, kernels, engine.num_threads());
  // Sums are float32: those of float32 gradients in place.
  const bool is_narrow = a.q_gradient.dtype != DType::kFloat32;
  const NewTensor wide_sum(engine, kFloat32Type, {is_narrow ? tokens : 0, a.heads, a.head_dim});
  a.dq_sum = static_cast<float*>(is_narrow ? wide_sum.data() : gradients.q.data());
  Turns turns(keys.turns);
  const size_t scratch_bytes = kernels.backward_scratch(a, keys.most_keys);
  std::atomic<bool> has_memory{true};
  engine.parallel_for(static_cast<int64_t>(keys.items.size()), [&](int64_t item, int thread) {
    void* scratch = has_memory ? engine.workspace(thread, scratch_bytes) : nullptr;
    if (scratch == nullptr) {
      has_memory = false;
      turns.give_up();
      return;
    }
    kernels.backward(a, keys.items[static_cast<size_t>(item)], turns, scratch);
  });
  check_memory(has_memory);
  return gradients;
}

}  // namespace fms_accel::ops
