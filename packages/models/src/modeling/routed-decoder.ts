/** The frame of decoders whose layers have routers: as that of other decoders, with the router loss in the loss. */
import type { Tensor } from "@fms-accel/tensor";

import type { DecoderConfig } from "../config/decoder-config.ts";
import { causalLMOutput } from "../layers/language-model-head.ts";
import { routerLoss, type RouterLossConfig } from "../layers/router-loss.ts";
import type { CausalLMInputs, CausalLMOutput } from "./causal-lm.ts";
import { DecoderFrame, HeadedDecoder } from "./decoder.ts";
import { type RoutedDecoderLayer, type RoutedHidden, runRoutedLayers } from "./run-routed-layers.ts";

/** The decoder without its head. Architectures extend it and override what they do otherwise. */
export class RoutedDecoder<L extends RoutedDecoderLayer = RoutedDecoderLayer> extends DecoderFrame<L> {
  /** @returns hidden states after the last norm, `[B, T, hidden]`, and router logits */
  override forward(inputs: CausalLMInputs, gradientCheckpointing: boolean): RoutedHidden {
    const { embedded, context } = this.begin(inputs);
    const { hidden, routerLogits } = runRoutedLayers(this.layers, embedded, context, gradientCheckpointing);
    return { hidden: this.norm.forward(hidden), routerLogits };
  }
}

/** A decoder with routers and its head. */
export class RoutedDecoderForCausalLM<
  C extends DecoderConfig & RouterLossConfig,
  M extends RoutedDecoder,
> extends HeadedDecoder<C, M> {
  override forward(inputs: CausalLMInputs): CausalLMOutput {
    const { hidden, routerLogits } = this.model.forward(inputs, this.gradientCheckpointing);
    const transform = (logits: Tensor): Tensor => this.transformLogits(logits);
    const auxLoss = routerLoss(routerLogits, this.config, inputs);
    return causalLMOutput(hidden, this.lm_head, this.config.vocabSize, inputs, transform, auxLoss);
  }
}
