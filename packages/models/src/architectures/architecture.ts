import type { Device, DType, Tensor } from "@fms-accel/tensor";

import type { CausalLMConfig } from "../config/causal-lm-config.ts";
import type { ConfigSource } from "../config/config-source.ts";
import type { CausalLM } from "../modeling/causal-lm.ts";

/** What a model is made with. Its weights are made uninitialised. */
export interface ModelOptions {
  readonly dtype: DType;
  readonly device: Device;
}

/** A parameter's share of a tensor that is stored in another layout. */
export interface TensorPart {
  /** Name of the parameter. */
  readonly name: string;
  readonly shape: readonly number[];
  /** The share, a view of the stored tensor or the tensor itself. */
  readonly take: (whole: Tensor) => Tensor;
}

/** How tensors of another layout of the same weights become parameters: under another name, or cut into several. */
export interface TensorMapping {
  /** Fits the names of stored tensors. */
  readonly pattern: RegExp;
  /** The parameters that a tensor holds; none where its shape cannot be cut, which then is an error like any unknown tensor. */
  readonly parts: (match: RegExpExecArray, shape: readonly number[]) => readonly TensorPart[];
}

/** A parameter of the model in transformers 5, as PEFT's `target_parameters` name it, that this package keeps as several layers. */
export interface FusedParameter {
  /** The module that has it there, such as "model.layers.0.mlp.experts". */
  readonly module: string;
  /** Its name there, such as "gate_up_proj". */
  readonly name: string;
  /** Its matrices `[out, in]`, one an expert: the linear layers of this package whose weights lie below each other in it. */
  readonly matrices: readonly (readonly string[])[];
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
  /** Other layouts in which its checkpoints occur; weights are always saved under the parameters' own names. */
  readonly tensorMappings?: readonly TensorMapping[];
  /** What of it an adapter names otherwise than by a linear layer, in the order in which transformers' modules have it. */
  fusedParameters?(config: C): readonly FusedParameter[];
}
