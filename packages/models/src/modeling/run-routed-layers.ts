import { isGradEnabled, type Module, scope, type Tensor } from "@fms-accel/tensor";

import { checkpointLayer, type LayerContext } from "./run-layers.ts";

/** A decoder layer that may have a router: to hidden states, and to the router's logits `[B·T, experts]` if it has one. */
export interface RoutedDecoderLayer extends Module {
  forward(x: Tensor, context: LayerContext): Tensor[];
}

/** What layers with routers give: hidden states, and the logits of all routers, first layer first. */
export interface RoutedHidden {
  readonly hidden: Tensor;
  readonly routerLogits: Tensor[];
}

/**
 * `runLayers` for layers with routers. Router logits are outputs of their layer, not a side effect: with gradient checkpointing a loss
 * on them still reaches the router.
 */
export function runRoutedLayers(
  layers: Iterable<RoutedDecoderLayer>,
  embedded: Tensor,
  context: LayerContext | ((layer: number) => LayerContext),
  gradientCheckpointing: boolean,
): RoutedHidden {
  let hidden = embedded;
  const routerLogits: Tensor[] = [];
  let index = 0;
  for (const layer of layers) {
    const input = hidden;
    const told = typeof context === "function" ? context(index++) : context;
    const [output, ...logits] =
      gradientCheckpointing && isGradEnabled()
        ? checkpointLayer(layer, input, told)
        : scope(() => layer.forward(input, told));
    hidden = output!;
    routerLogits.push(...logits);
    if (input !== embedded) {
      input.dispose(); // the tape keeps it where backward needs it
    }
  }
  return { hidden, routerLogits };
}
