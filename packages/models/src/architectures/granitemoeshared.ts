/** GraniteMoeShared: GraniteMoE with an MLP beside the experts that every token goes through. */
import { add, div, Linear, Module, split, type Tensor } from "@fms-accel/tensor";
import { z } from "zod";

import { type ConfigSource, parseWith } from "../config/config-source.ts";
import { size } from "../config/fields.ts";
import { checkUnreadKeys } from "../config/inert-keys.ts";
import { type Activation, activation, gated } from "../layers/activations.ts";
import { RoutedDecoderForCausalLM } from "../modeling/routed-decoder.ts";
import type { Architecture, ModelOptions } from "./architecture.ts";
import {
  type GraniteMoeConfig,
  GraniteMoeDecoderLayer,
  graniteMoeFields,
  graniteMoeFusedParameters,
  GraniteMoeModel,
  parseGraniteMoeFields,
} from "./granitemoe.ts";

export interface GraniteMoeSharedConfig extends GraniteMoeConfig {
  /** Inner width of the shared MLP; 0: there is none. */
  readonly sharedIntermediateSize: number;
}

const configFields = z.object({ ...graniteMoeFields, shared_intermediate_size: z.union([z.literal(0), size]) });

export function parseGraniteMoeSharedConfig(source: ConfigSource): GraniteMoeSharedConfig {
  checkUnreadKeys(source, Object.keys(configFields.shape));
  const fields = parseWith(source, configFields, source.json);
  return {
    modelType: "granitemoeshared",
    architecture: "GraniteMoeSharedForCausalLM",
    ...parseGraniteMoeFields(source, fields),
    sharedIntermediateSize: fields.shared_intermediate_size,
  };
}

/** output(act(gate) · up), where input gives gate and up side by side. */
export class GraniteMoeSharedMLP extends Module {
  input_linear: Linear;
  output_linear: Linear;
  readonly activation: Activation;

  constructor({ hiddenSize, sharedIntermediateSize, hiddenAct }: GraniteMoeSharedConfig, options: ModelOptions) {
    super();
    this.input_linear = new Linear(hiddenSize, 2 * sharedIntermediateSize, { ...options, bias: false });
    this.output_linear = new Linear(sharedIntermediateSize, hiddenSize, { ...options, bias: false });
    this.activation = activation(hiddenAct);
  }

  forward(x: Tensor): Tensor {
    const both = this.input_linear.forward(x);
    const [gate, up] = split(both, both.shape.at(-1)! / 2, -1) as [Tensor, Tensor];
    return this.output_linear.forward(gated(this.activation, gate, up));
  }
}

export class GraniteMoeSharedDecoderLayer extends GraniteMoeDecoderLayer {
  shared_mlp: GraniteMoeSharedMLP | undefined;

  constructor(config: GraniteMoeSharedConfig, layerIndex: number, options: ModelOptions) {
    super(config, layerIndex, options);
    this.shared_mlp = config.sharedIntermediateSize === 0 ? undefined : new GraniteMoeSharedMLP(config, options);
  }

  protected override feedForward(x: Tensor): [output: Tensor, routerLogits: Tensor] {
    const [mixed, routerLogits] = super.feedForward(x);
    return [this.shared_mlp === undefined ? mixed : add(mixed, this.shared_mlp.forward(x)), routerLogits];
  }
}

export class GraniteMoeSharedForCausalLM extends RoutedDecoderForCausalLM<
  GraniteMoeSharedConfig,
  GraniteMoeModel<GraniteMoeSharedDecoderLayer>
> {
  constructor(config: GraniteMoeSharedConfig, options: ModelOptions) {
    const layer = (index: number): GraniteMoeSharedDecoderLayer =>
      new GraniteMoeSharedDecoderLayer(config, index, options);
    super(config, new GraniteMoeModel(config, options, layer), options);
  }

  protected override transformLogits(logits: Tensor): Tensor {
    return div(logits, this.config.logitsScaling);
  }
}

export const graniteMoeShared: Architecture<GraniteMoeSharedConfig> = {
  name: "GraniteMoeSharedForCausalLM",
  modelType: "granitemoeshared",
  parseConfig: parseGraniteMoeSharedConfig,
  create: (config, options) => new GraniteMoeSharedForCausalLM(config, options),
  ignoredTensors: [/\.rotary_emb\.inv_freq$/],
  fusedParameters: graniteMoeFusedParameters,
};
