import { existsSync } from "node:fs";
import { join } from "node:path";

import { defaultDevice, type Device, type DType, Generator, scope, TensorError } from "@fms-accel/tensor";

import type { Architecture } from "../architectures/architecture.ts";
import { findArchitecture } from "../architectures/registry.ts";
import { type CausalLMConfig, isWeightDType } from "../config/causal-lm-config.ts";
import { type ConfigOptions, type ConfigSource, configSource, readConfigSource } from "../config/config-source.ts";
import { ConfigError, ModelsError } from "../errors.ts";
import type { CausalLM } from "../modeling/causal-lm.ts";
import { initialiseWeights } from "../modeling/initialise.ts";
import { Checkpoint } from "../safetensors/checkpoint.ts";
import { storedDType } from "../safetensors/dtypes.ts";
import { CONFIG_FILE } from "./auto-config.ts";
import { loadWeights } from "./load-weights.ts";
import { GENERATION_CONFIG_FILE } from "./save-pretrained.ts";

export interface ModelLoadOptions extends ConfigOptions {
  /**
   * dtype of the weights. "auto", the default as in transformers 5, takes the one that config.json names, or else that of the
   * stored tensors: weights then stay in the mapped file. Any other is converted to while loading. The command line's
   * `--torch_dtype` is this option, and its default is fms-hf-tuning's, bfloat16.
   */
  readonly dtype?: DType | "auto" | undefined;
  readonly device?: Device | undefined;
  /**
   * Hold no weight twice: what was read of the file leaves memory as soon as a weight is converted, copied for training or merged, and not
   * when all are. Costs a mapping for each tensor, see `MappingOptions`. Default false.
   */
  readonly lowMemory?: boolean | undefined;
}

export interface ModelCreateOptions extends ModelLoadOptions {
  /** Seed of the initial weights; default 0. */
  readonly seed?: number | bigint | undefined;
}

/** Opens and makes language models of any architecture. */
export const AutoModelForCausalLM = {
  /**
   * Opens a model directory in Hugging Face's layout. The model is in evaluation mode, all parameters require gradients.
   * @throws ConfigError, SafetensorsError, CheckpointError naming file, key or tensor, what was expected and found
   */
  async fromPretrained(directory: string, options: ModelLoadOptions = {}): Promise<CausalLM> {
    using checkpoint = Checkpoint.open(directory, { separately: options.lowMemory });
    const source = readConfigSource(join(directory, CONFIG_FILE), options);
    const architecture = findArchitecture(source);
    const config = architecture.parseConfig(source);
    const dtype = chooseDType(options.dtype, config, checkpoint);
    const model = createModel(source, architecture, config, dtype, options);
    loadWeights(model, checkpoint, architecture, dtype);
    const generationConfig = join(directory, GENERATION_CONFIG_FILE);
    if (existsSync(generationConfig)) {
      model.generationConfig = readConfigSource(generationConfig).json;
    }
    model.eval();
    return model;
  },

  /** Makes a model with fresh weights (Hugging Face's initialisation) from a configuration, or from the keys of a config.json. */
  fromConfig(config: CausalLMConfig | Readonly<Record<string, unknown>>, options: ModelCreateOptions = {}): CausalLM {
    const source = configSource(isParsed(config) ? config.raw : config, options);
    const architecture: Architecture = findArchitecture(source);
    const parsed = architecture.parseConfig(source);
    const dtype = chooseDType(options.dtype, parsed);
    const model = createModel(source, architecture, parsed, dtype, options);
    initialiseWeights(model, new Generator(options.seed ?? 0));
    model.eval();
    return model;
  },
} as const;

/** Makes the modules, with uninitialised weights. Sizes that no memory can hold are the configuration's fault. */
function createModel<C extends CausalLMConfig>(
  source: ConfigSource,
  architecture: Architecture<C>,
  config: C,
  dtype: DType,
  options: ModelLoadOptions,
): CausalLM<C> {
  try {
    // In a scope, so that what the modules made their parameters of does not wait for the garbage collector.
    return scope(() => architecture.create(config, { dtype, device: options.device ?? defaultDevice() }));
  } catch (error) {
    if (error instanceof TensorError) {
      throw new ConfigError(`${source.file}: a model of these sizes cannot be made: ${error.message}`, {
        cause: error,
      });
    }
    throw error;
  }
}

function isParsed(config: CausalLMConfig | Readonly<Record<string, unknown>>): config is CausalLMConfig {
  return "raw" in config && "modelType" in config;
}

function chooseDType(wanted: DType | "auto" = "auto", config: CausalLMConfig, checkpoint?: Checkpoint): DType {
  if (wanted !== "auto") {
    if (!isWeightDType(wanted)) {
      throw new ModelsError(
        `dtype: expected "auto", "float32", "bfloat16" or "float16", found ${JSON.stringify(wanted)}.`,
      );
    }
    return wanted;
  }
  if (config.dtype !== undefined) {
    return config.dtype;
  }
  for (const tensor of checkpoint?.tensors.values() ?? []) {
    const dtype = storedDType(tensor.storedDType)?.dtype;
    if (dtype !== undefined && isWeightDType(dtype)) {
      return dtype;
    }
  }
  return "float32";
}
