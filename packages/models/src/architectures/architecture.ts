import type { Device, DType } from "@fms-accel/tensor";

import type { CausalLMConfig } from "../config/causal-lm-config.ts";
import type { ConfigSource } from "../config/config-source.ts";
import type { CausalLM } from "../modeling/causal-lm.ts";

/** What a model is made with. Its weights are made uninitialised. */
export interface ModelOptions {
  readonly dtype: DType;
  readonly device: Device;
}

/** One architecture: everything that `AutoConfig` and `AutoModelForCausalLM` need to know to open its checkpoints. */
export interface Architecture<C extends CausalLMConfig = CausalLMConfig> {
  /** Class name, as `architectures` of config.json has it. */
  readonly name: string;
  /** `model_type` of config.json. */
  readonly modelType: string;
  parseConfig(source: ConfigSource): C;
  create(config: C, options: ModelOptions): CausalLM<C>;
  /** Names of tensors that checkpoints contain and the model does not need, such as precomputed frequencies. */
  readonly ignoredTensors: readonly RegExp[];
}
