// The model shapes that benchmarks use; the names are those of the peer's script (peer-train-step.py).
const llama = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_act: "silu",
  rms_norm_eps: 1e-6,
  max_position_embeddings: 8192,
  tie_word_embeddings: true,
};

const mixtral = {
  architectures: ["MixtralForCausalLM"],
  model_type: "mixtral",
  hidden_act: "silu",
  rms_norm_eps: 1e-5,
  rope_theta: 1e6,
  max_position_embeddings: 8192,
  tie_word_embeddings: false,
  sliding_window: null,
  output_router_logits: false,
  vocab_size: 32000,
  hidden_size: 512,
  num_hidden_layers: 8,
  num_attention_heads: 8,
  num_key_value_heads: 4,
};

export const SHAPES = {
  // For rehearsals: its times mean nothing
  tiny: {
    ...llama,
    hidden_size: 64,
    intermediate_size: 96,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    vocab_size: 500,
  },
  // SmolLM-135M: 30 layers of hidden 576, 9 heads of 64, 3 key-value heads
  "135m": {
    ...llama,
    vocab_size: 49152,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
  },
  // Four layers of Llama-3.2-1B: wide layers, a large vocabulary
  "1b-4l": {
    ...llama,
    vocab_size: 128256,
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 4,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 64,
  },
  // A small mixture of experts: 2 of 8 for each token
  moe: { ...mixtral, intermediate_size: 1024, num_local_experts: 8, num_experts_per_tok: 2 },
  // Many small experts, as in GraniteMoE and Qwen3-MoE: 8 of 32
  "moe-32": { ...mixtral, intermediate_size: 256, num_local_experts: 32, num_experts_per_tok: 8 },
};

/** Floating point operations of a training step, products only: with LoRA of rank r on all linear layers, or of all weights. */
export function stepFlops(shape, lengths, { method, r = 16 }) {
  const h = shape.hidden_size;
  const headDim = shape.head_dim ?? h / shape.num_attention_heads;
  const q = shape.num_attention_heads * headDim;
  const kv = shape.num_key_value_heads * headDim;
  const i = shape.intermediate_size;
  const layers = shape.num_hidden_layers;
  const tokens = lengths.reduce((a, b) => a + b, 0);
  const experts = shape.num_experts_per_tok ?? 1;
  const projections = [
    [h, q],
    [h, kv],
    [h, kv],
    [q, h],
  ];
  for (let expert = 0; expert < experts; expert++) projections.push([h, i], [h, i], [i, h]);
  const router = h * (shape.num_local_experts ?? 0);
  const weights = layers * (router + projections.reduce((sum, [a, b]) => sum + a * b, 0)) + h * shape.vocab_size;
  const lora = layers * projections.reduce((sum, [a, b]) => sum + r * (a + b), 0);
  const pairs = lengths.reduce((sum, n) => sum + (n * (n + 1)) / 2, 0);
  const attention = layers * shape.num_attention_heads * headDim * pairs * (4 + 10);
  // Frozen weights: forward and the input's gradient. Trained ones: also their own gradient.
  return 2 * tokens * (method === "full" ? 3 * weights : 2 * weights + 3 * lora) + attention;
}
