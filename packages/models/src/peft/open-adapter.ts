import type { CausalLM } from "../modeling/causal-lm.ts";
import { adapterType } from "./adapter-config-file.ts";
import type { AdapterModel } from "./adapter-model.ts";
import type { LoadAdapterOptions } from "./adapter-options.ts";
import { PeftModel } from "./peft-model.ts";
import { PromptTuningModel } from "./prompt-tuning-model.ts";

/**
 * Puts a saved adapter of any kind into a model.
 * @param directory with adapter_config.json and adapter_model.safetensors, as PEFT or `savePretrained` writes it
 * @throws AdapterConfigError, AdapterError, SafetensorsError
 */
export async function openAdapter<M extends CausalLM>(
  model: M,
  directory: string,
  options: LoadAdapterOptions = {},
): Promise<AdapterModel<M>> {
  return adapterType(directory) === "PROMPT_TUNING"
    ? PromptTuningModel.fromPretrained(model, directory, options)
    : PeftModel.fromPretrained(model, directory, options);
}
