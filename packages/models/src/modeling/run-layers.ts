import { checkpoint, isGradEnabled, type Module, scope, type Tensor } from "@fms-accel/tensor";

import type { RotaryPhases } from "../rope/rotary-embedding.ts";
import type { AttentionContext } from "./attention-context.ts";

/** What a decoder layer with rotary positions is told besides its input. */
export interface LayerContext extends AttentionContext {
  readonly phases: RotaryPhases;
}

/** A decoder layer: hidden states `[B, T, H]` to hidden states. */
export interface DecoderLayer<C extends AttentionContext = LayerContext> extends Module {
  forward(x: Tensor, context: C): Tensor;
}

/**
 * Applies the layers in turn. Each runs in a scope of its own, so that of its temporaries only those live on that backward needs;
 * with `gradientCheckpointing` not even those, and backward runs the layer again.
 * @param context what all layers are told, or what each is by its index
 */
export function runLayers<C extends AttentionContext & { readonly phases?: RotaryPhases }>(
  layers: Iterable<DecoderLayer<C>>,
  embedded: Tensor,
  context: C | ((layer: number) => C),
  gradientCheckpointing: boolean,
): Tensor {
  let hidden = embedded;
  let index = 0;
  for (const layer of layers) {
    const input = hidden;
    const told = typeof context === "function" ? context(index++) : context;
    hidden =
      gradientCheckpointing && isGradEnabled()
        ? checkpointLayer(layer, input, told)
        : scope(() => layer.forward(input, told));
    if (input !== embedded) {
      input.dispose(); // the tape keeps it where backward needs it
    }
  }
  return hidden;
}

const MASKS = ["keyMask", "querySegments", "keySegments", "cuSeqlens"] as const;

/**
 * Backward repeats the layer when the scope of the forward call may be gone, so all tensors of the context go in as inputs of
 * the checkpoint: it keeps them.
 */
export function checkpointLayer<
  C extends AttentionContext & { readonly phases?: RotaryPhases },
  T extends Tensor | Tensor[],
>(layer: { forward(x: Tensor, context: C): T }, input: Tensor, context: C): T {
  const { phases } = context;
  const present = MASKS.filter((name) => context[name] !== undefined);
  const tensors = present.map((name) => context[name]!);
  return checkpoint(
    (x: Tensor, ...kept: Tensor[]) => {
      const masks = Object.fromEntries(present.map((name, at) => [name, kept[at]]));
      const [cos, sin] = kept.slice(present.length);
      return layer.forward(x, { ...context, ...masks, ...(cos && sin && { phases: { cos, sin } }) });
    },
    input,
    ...tensors,
    ...(phases === undefined ? [] : [phases.cos, phases.sin]),
  );
}
