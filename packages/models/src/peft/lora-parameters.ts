import {
  type Device,
  type DType,
  type Generator,
  empty,
  Linear,
  normal_,
  type Parameter,
  type Tensor,
  uniform_,
  zeros,
} from "@fms-accel/tensor";

import { AdapterConfigError } from "./errors.ts";
import type { LoraConfig } from "./lora-config.ts";
import { takenParameter } from "./owned-parameter.ts";

/** The settings of one adapter on one module. */
export interface LoraSettings {
  readonly r: number;
  readonly alpha: number;
  /** What the product B·A·x is multiplied by. */
  readonly scaling: number;
  readonly dropout: number;
}

/** alpha / r, or alpha / sqrt(r) with rsLoRA. */
export function loraSettings(config: LoraConfig, r: number, alpha: number): LoraSettings {
  const scaling = config.useRslora ? alpha / Math.sqrt(r) : alpha / r;
  return { r, alpha, scaling, dropout: config.loraDropout };
}

/** Rank and alpha of an adapter in one place. */
export interface AdapterSize {
  readonly r: number;
  readonly alpha: number;
}

/** How the weights of a new adapter are made. */
export interface InjectionOptions {
  /** A and B are float32 where the base layer has less. */
  readonly autocastAdapterDType: boolean;
  readonly generator: Generator | undefined;
}

/** Where the weights of a new adapter lie, and where their initial values come from. */
export interface LoraWeightOptions {
  readonly dtype: DType;
  readonly device: Device;
  /** Default: the tensor engine's. */
  readonly generator?: Generator | undefined;
}

/** The weights of an adapter lie where the weight that they change does. */
export function besideWeight(weight: Tensor, options: InjectionOptions): LoraWeightOptions {
  const { dtype, device } = weight;
  return { dtype: options.autocastAdapterDType ? "float32" : dtype, device, generator: options.generator };
}

/** @throws AdapterConfigError for an initialisation that only loaded adapters may name */
export function checkInitialisation(kind: LoraConfig["initLoraWeights"]): void {
  if (typeof kind === "string" && kind.toLowerCase() !== "gaussian") {
    throw new AdapterConfigError(
      `init_lora_weights: "${kind}" is not implemented for new adapters; adapters that were trained from it can be loaded. ` +
        'Use true, false or "gaussian".',
    );
  }
}

/** A `[r, in]` and B `[out, r]` of a new adapter, initialised as the configuration says. */
export function createLoraWeights(
  kind: LoraConfig["initLoraWeights"],
  r: number,
  inFeatures: number,
  outFeatures: number,
  { dtype, device, generator }: LoraWeightOptions,
): { a: Linear; b: Linear } {
  const a = new Linear(inFeatures, r, { bias: false, dtype, device });
  const b = new Linear(r, outFeatures, { bias: false, dtype, device });
  switch (typeof kind === "string" ? kind.toLowerCase() : kind) {
    case true:
      fillUniform(a, generator);
      fillZero(b.weight);
      break;
    case false:
      fillUniform(a, generator);
      fillUniform(b, generator);
      break;
    case "gaussian":
      normal_(a.weight, 0, 1 / r, generator);
      fillZero(b.weight);
      break;
    default:
      checkInitialisation(kind);
  }
  return { a, b };
}

/**
 * A `[r, count]` and B `[dim, r]` of a new adapter of an embedding: A zero and B normal, or with `false` both normal.
 * @throws AdapterConfigError for an initialisation that embeddings do not have
 */
export function createEmbeddingWeights(
  kind: LoraConfig["initLoraWeights"],
  r: number,
  count: number,
  dim: number,
  { dtype, device, generator }: LoraWeightOptions,
): { a: Parameter; b: Parameter } {
  checkInitialisation(kind);
  const a = takenParameter(empty([r, count], { dtype, device }), true);
  const b = takenParameter(empty([dim, r], { dtype, device }), true);
  normal_(b, 0, 1, generator);
  if (kind === false) {
    normal_(a, 0, 1, generator);
  } else {
    fillZero(a);
  }
  return { a, b };
}

/**
 * He et al.'s uniform initialisation (2015, arXiv:1502.01852) with the slope sqrt(5) that torch's Linear uses: within
 * ±1/sqrt(fan in).
 */
function fillUniform({ weight, in_features }: Linear, generator: Generator | undefined): void {
  const bound = 1 / Math.sqrt(in_features);
  uniform_(weight, -bound, bound, generator);
}

function fillZero(parameter: Parameter): void {
  const zero = zeros([], { device: parameter.device });
  parameter.copyFrom(zero); // broadcasts
  zero.dispose();
}
