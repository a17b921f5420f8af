import { mkdirSync } from "node:fs";
import { join } from "node:path";

import type { Tensor } from "@fms-accel/tensor";

import { writeTextAtomically } from "../files/atomic-write.ts";
import type { CausalLM } from "../modeling/causal-lm.ts";
import { pythonJson, type PythonJsonValue } from "../peft/python-json.ts";
import { writeShards } from "../safetensors/shards.ts";
import type { StorableTensor } from "../safetensors/writer.ts";
import { CONFIG_FILE } from "./auto-config.ts";

export const GENERATION_CONFIG_FILE = "generation_config.json";

export interface SaveOptions {
  /** Largest size of a weight file, such as "5GB" (decimal units); default "5GB". */
  readonly maxShardSize?: string | number | undefined;
  /** Weights to write instead of the model's own, by the same names: merged ones, or those of an optimiser's master copy. */
  readonly stateDict?: ReadonlyMap<string, StorableTensor> | undefined;
}

/**
 * Writes a model directory in Hugging Face's layout: config.json, generation_config.json, and safetensors. A tied weight is
 * written once.
 * @returns the names of the weight files
 */
export function savePretrained(model: CausalLM, directory: string, options: SaveOptions = {}): string[] {
  mkdirSync(directory, { recursive: true });
  const tensors = options.stateDict ?? modelTensors(model);
  const files = writeShards(directory, tensors, options.maxShardSize ?? "5GB");
  writeJson(join(directory, CONFIG_FILE), savedConfig(model, tensors));
  writeJson(join(directory, GENERATION_CONFIG_FILE), savedGenerationConfig(model));
  return files;
}

/** Parameters and persistent buffers by their checkpoint names, in the model's order, without the aliases of tied weights. */
export function modelTensors(model: CausalLM): Map<string, Tensor> {
  const aliases = new Set(model.tiedWeights().map(([, alias]) => alias));
  return new Map([...model.stateDict()].filter(([name]) => !aliases.has(name)));
}

/** The configuration as it was read, with the architecture and the dtype that the weights have now. */
function savedConfig(model: CausalLM, tensors: ReadonlyMap<string, StorableTensor>): Record<string, unknown> {
  const { raw, architecture, modelType } = model.config;
  const dtypes = new Set([...tensors.values()].map((tensor) => tensor.dtype));
  const dtype = dtypes.size === 1 ? [...dtypes][0] : "float32";
  const dtypeKey = "dtype" in raw ? "dtype" : "torch_dtype";
  const { torch_dtype: _, ...settings } = raw;
  return { ...settings, architectures: [architecture], model_type: modelType, [dtypeKey]: dtype };
}

/** What was read with the model, else the special tokens, as transformers derives it. */
function savedGenerationConfig(model: CausalLM): Record<string, unknown> {
  if (Object.keys(model.generationConfig).length > 0) {
    return { ...model.generationConfig };
  }
  const entries = ["bos_token_id", "eos_token_id", "pad_token_id"].flatMap((key) => {
    const value = model.config.raw[key];
    return value == null ? [] : [[key, value] as const];
  });
  return { _from_model_config: true, ...Object.fromEntries(entries) };
}

/**
 * Settings that transformers declares as floats: its configurations refuse a whole number there, and JavaScript does not know 30 from
 * 30.0. The last ones are of RoPE's sections.
 */
const FLOAT_KEYS: ReadonlySet<string> = new Set([
  "attn_logit_softcapping",
  "clip_qkv",
  "final_logit_softcapping",
  "initializer_range",
  "layer_norm_eps",
  "layer_norm_epsilon",
  "logit_scale",
  "norm_eps",
  "norm_epsilon",
  "rms_norm_eps",
  "router_aux_loss_coef",
  "router_jitter_noise",
  "attention_factor",
  "beta_fast",
  "beta_slow",
  "factor",
  "high_freq_factor",
  "low_freq_factor",
  "mscale",
  "mscale_all_dim",
]);

/** Writes settings as transformers does: keys in order, floats with a point or an exponent. */
function writeJson(path: string, value: Readonly<Record<string, unknown>>): void {
  writeTextAtomically(path, `${pythonJson(withFloats(value, ""))}\n`);
}

function withFloats(value: unknown, key: string): PythonJsonValue {
  if (typeof value === "number") {
    return Number.isInteger(value) && !FLOAT_KEYS.has(key) ? value : { float: value };
  }
  if (Array.isArray(value)) {
    return value.map((item) => withFloats(item, key));
  }
  if (typeof value === "object" && value !== null) {
    const given = Object.entries(value).filter(([, item]) => item !== undefined);
    return Object.fromEntries(given.map(([name, item]) => [name, withFloats(item, name)]));
  }
  return value as PythonJsonValue;
}
