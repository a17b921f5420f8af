import { listNames } from "../messages/did-you-mean.ts";
import { AdapterConfigError } from "./errors.ts";

/**
 * What PEFT 0.21.2 adapts when `target_modules` is null, for the model types that this package can open
 * (`TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING` of its constants). Other types have no default there.
 */
const DEFAULT_TARGET_MODULES: ReadonlyMap<string, readonly string[]> = new Map([
  ["gemma", ["q_proj", "v_proj"]],
  ["gemma2", ["q_proj", "v_proj"]],
  ["gemma3_text", ["q_proj", "v_proj"]],
  ["gpt2", ["c_attn"]],
  ["gpt_bigcode", ["c_attn"]],
  ["gpt_neox", ["query_key_value"]],
  ["llama", ["q_proj", "v_proj"]],
  ["mistral", ["q_proj", "v_proj"]],
  ["mixtral", ["q_proj", "v_proj"]],
  ["qwen2", ["q_proj", "v_proj"]],
  ["qwen3", ["q_proj", "v_proj"]],
  ["stablelm", ["q_proj", "v_proj"]],
]);

/** Whether PEFT has default targets for a model type. */
export function hasDefaultTargetModules(modelType: string): boolean {
  return DEFAULT_TARGET_MODULES.has(modelType);
}

/** The default targets of a model type. @throws AdapterConfigError when PEFT has none for it. */
export function defaultTargetModules(modelType: string): readonly string[] {
  const targets = DEFAULT_TARGET_MODULES.get(modelType);
  if (targets === undefined) {
    throw new AdapterConfigError(
      `target_modules is not set and PEFT has no default for model type "${modelType}" (it has for ` +
        `${listNames([...DEFAULT_TARGET_MODULES.keys()])}). Set target_modules, for example to "all-linear".`,
    );
  }
  return targets;
}
