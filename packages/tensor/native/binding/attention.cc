#include "ops/attention.h"

#include "binding/arguments.h"

namespace fms_accel {
namespace {

// (scale, soft cap, causal, window, key mask, query segments, key segments, compute in bfloat16,
// dtype) from `first` on.
ops::AttentionOptions options_of(const Arguments& a, size_t first) {
  ops::AttentionOptions options;
  options.scale = static_cast<float>(a.number(first));
  options.soft_cap = static_cast<float>(a.number(first + 1));
  options.causal = a.boolean(first + 2);
  options.window = a.integer(first + 3);
  options.key_mask = a.optional_tensor(first + 4);
  options.query_segments = a.optional_tensor(first + 5);
  options.key_segments = a.optional_tensor(first + 6);
  options.compute_bfloat16 = a.boolean(first + 7);
  options.dtype = a.dtype(first + 8);
  return options;
}

}  // namespace

void register_attention(Napi::Env env, Napi::Object exports) {
  define(env, exports, "attention", [](const Arguments& a) -> Napi::Value {
    const ops::AttentionResult result =
        ops::attention(a.tensor(0), a.tensor(1), a.tensor(2), options_of(a, 3));
    return a.handles({result.out, result.lse});
  });
  define(env, exports, "attentionGradients", [](const Arguments& a) -> Napi::Value {
    const ops::AttentionGradients gradients =
        ops::attention_gradients(a.tensor(0), a.tensor(1), a.tensor(2), {a.tensor(3), a.tensor(4)},
                                 a.tensor(5), options_of(a, 6));
    return a.handles({gradients.q, gradients.k, gradients.v});
  });
}

}  // namespace fms_accel
