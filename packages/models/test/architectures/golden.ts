/** Reference numbers of one model directory (packages-private/fixtures/models) and how closely ours are compared with them. */
import { scope, type Tensor, tensor } from "@fms-accel/tensor";
import { fixturePath, readJsonFixture, readSafetensors, type ReferenceTensor } from "@fms-accel/test-utilities";

import { AutoModelForCausalLM, type ModelLoadOptions } from "../../src/auto/auto-model.ts";
import type { CausalLM, CausalLMInputs } from "../../src/modeling/causal-lm.ts";

/** Cases of Llama, and of the other architectures without experts. */
export const LLAMA_CASES: readonly string[] = [
  "llama",
  "llama3-rope",
  "llama-rope-linear",
  "llama-rope-dynamic",
  "llama-rope-yarn",
  "llama-longrope",
  "llama-bias",
  "llama-sharded",
];
export const DENSE_CASES: readonly string[] = [
  ...LLAMA_CASES,
  "mistral",
  "mistral-full",
  "qwen2",
  "qwen2-window",
  "qwen3",
  "granite",
  "phi3",
  "olmo2",
  "smollm3",
  "gemma",
  "gemma2",
  "gemma3_text",
  "starcoder2",
  "gpt_bigcode",
  "gpt_bigcode-mha",
  "gpt2",
  "gpt_neox",
  "stablelm",
  "stablelm-parallel",
];

export interface ExpectedDocument {
  readonly lengths: readonly number[];
  readonly loss: {
    readonly hf_loss: number;
    readonly num_items_in_batch: number;
    readonly hf_loss_with_num_items_in_batch: number;
  };
  readonly packed: { readonly loss: number };
  /** The reference's own bfloat16, where there is no padding. */
  readonly bf16: { readonly logits_vs_float32: { readonly max_abs: number } };
}

export interface Golden {
  readonly directory: string;
  readonly document: ExpectedDocument;
  readonly tensors: ReadonlyMap<string, ReferenceTensor>;
  /** An integer input of the fixture as a tensor. */
  input(name: string): Tensor;
  data(name: string): Float32Array;
  has(name: string): boolean;
}

export function golden(name: string): Golden {
  const directory = fixturePath("models", name);
  const tensors = readSafetensors(fixturePath("models", name, "expected.safetensors"));
  const find = (key: string): ReferenceTensor => {
    const found = tensors.get(key);
    if (found === undefined) {
      throw new Error(`${name}: the fixture has no ${key}`);
    }
    return found;
  };
  return {
    directory,
    document: readJsonFixture("models", name, "expected.json"),
    tensors,
    input: (key) => tensor(find(key).data, { shape: find(key).shape }),
    data: (key) => find(key).data as Float32Array,
    has: (key) => tensors.has(key),
  };
}

/** The padded batch of a case, with labels. */
export function batch(fixture: Golden): CausalLMInputs {
  return {
    inputIds: fixture.input("input_ids"),
    attentionMask: fixture.input("attention_mask"),
    labels: fixture.input("labels"),
  };
}

export async function openModel(name: string, options: ModelLoadOptions = { dtype: "float32" }): Promise<CausalLM> {
  return await AutoModelForCausalLM.fromPretrained(fixturePath("models", name), options);
}

/** Rows of `[B, T, V]` at which a mask is not 0. */
export function maskedRows(values: ArrayLike<number>, mask: ArrayLike<number>, width: number): Float32Array {
  const rows: number[] = [];
  for (let row = 0; row < mask.length; row++) {
    if (mask[row] !== 0) {
      for (let column = 0; column < width; column++) {
        rows.push(values[row * width + column]!);
      }
    }
  }
  return Float32Array.from(rows);
}

/** Gradients of all parameters after a backward pass, by name; frees them on the model. */
export function takeGradients(model: CausalLM): Map<string, Float32Array> {
  const gradients = new Map<string, Float32Array>();
  for (const [name, parameter] of model.namedParameters()) {
    gradients.set(name, parameter.grad?.toFloat32Array() ?? new Float32Array(parameter.numel));
    parameter.grad?.dispose();
    parameter.grad = undefined;
  }
  return gradients;
}

/** Runs `body` in a scope and returns plain data, so that nothing of a test outlives it. */
export function inScope<T>(body: () => T): T {
  return scope(body);
}
