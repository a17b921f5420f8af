import {
  type Device,
  type DType,
  type Generator,
  Linear,
  mul,
  noGrad,
  rand,
  randn,
  scope,
  sub,
  type Tensor,
  zeros,
} from "@fms-accel/tensor";

import { AdapterConfigError } from "./errors.ts";
import type { LoraConfig } from "./lora-config.ts";

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

/** Where the weights of a new adapter lie, and where their initial values come from. */
export interface LoraWeightOptions {
  readonly dtype: DType;
  readonly device: Device;
  readonly generator: Generator | undefined;
}

/** A `[r, in]` and B `[out, r]` of a new adapter, initialised as the configuration says. */
export function createLoraWeights(
  config: LoraConfig,
  r: number,
  inFeatures: number,
  outFeatures: number,
  options: LoraWeightOptions,
): { a: Linear; b: Linear } {
  const { dtype, device } = options;
  const a = new Linear(inFeatures, r, { bias: false, dtype, device });
  const b = new Linear(r, outFeatures, { bias: false, dtype, device });
  noGrad(() =>
    scope(() => {
      const initial = initialValues(config.initLoraWeights, a.weight.shape, b.weight.shape, options);
      a.weight.copyFrom(initial.a);
      b.weight.copyFrom(initial.b);
    }),
  );
  return { a, b };
}

function initialValues(
  kind: boolean | string,
  aShape: readonly number[],
  bShape: readonly number[],
  options: LoraWeightOptions,
): { a: Tensor; b: Tensor } {
  const b = zeros(bShape, { device: options.device });
  switch (typeof kind === "string" ? kind.toLowerCase() : kind) {
    case true:
      return { a: uniformByFanIn(aShape, options), b };
    case false:
      return { a: uniformByFanIn(aShape, options), b: uniformByFanIn(bShape, options) };
    case "gaussian":
      return { a: mul(randn(aShape, random(options)), 1 / (aShape[0] ?? 1)), b };
    default:
      throw new AdapterConfigError(
        `init_lora_weights: "${kind}" is not implemented for new adapters; adapters that were trained from it can be loaded. ` +
          'Use true, false or "gaussian".',
      );
  }
}

/**
 * He et al.'s uniform initialisation (2015, arXiv:1502.01852) with the slope sqrt(5) that torch's Linear uses: within
 * ±1/sqrt(fan in).
 */
function uniformByFanIn(shape: readonly number[], options: LoraWeightOptions): Tensor {
  const bound = 1 / Math.sqrt(shape[1] ?? 1);
  return sub(mul(rand(shape, random(options)), 2 * bound), bound);
}

function random({ device, generator }: LoraWeightOptions): { device: Device; generator?: Generator } {
  return generator === undefined ? { device } : { device, generator };
}
