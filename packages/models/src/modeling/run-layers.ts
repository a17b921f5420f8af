import { checkpoint, isGradEnabled, type Module, scope, type Tensor } from "@fms-accel/tensor";

import type { RotaryPhases } from "../rope/rotary-embedding.ts";
import type { KeyValueCache } from "./key-value-cache.ts";

/** What a decoder layer is told besides its input. The names are those of `scaledDotProductAttention`'s options. */
export interface LayerContext {
  readonly phases: RotaryPhases;
  readonly keyMask: Tensor | undefined;
  readonly querySegments: Tensor | undefined;
  readonly keySegments: Tensor | undefined;
  readonly cache: KeyValueCache | undefined;
}

/** A decoder layer: hidden states `[B, T, H]` to hidden states. */
export interface DecoderLayer extends Module {
  forward(x: Tensor, context: LayerContext): Tensor;
}

/**
 * Applies the layers in turn. Each runs in a scope of its own, so that of its temporaries only those live on that backward needs;
 * with `gradientCheckpointing` not even those, and backward runs the layer again.
 */
export function runLayers(
  layers: Iterable<DecoderLayer>,
  embedded: Tensor,
  context: LayerContext,
  gradientCheckpointing: boolean,
): Tensor {
  let hidden = embedded;
  for (const layer of layers) {
    const input = hidden;
    hidden =
      gradientCheckpointing && isGradEnabled()
        ? checkpointLayer(layer, input, context)
        : scope(() => layer.forward(input, context));
    if (input !== embedded) {
      input.dispose(); // the tape keeps it where backward needs it
    }
  }
  return hidden;
}

/**
 * Backward repeats the layer when the scope of the forward call may be gone, so all tensors of the context go in as inputs of
 * the checkpoint: it keeps them.
 */
function checkpointLayer(layer: DecoderLayer, input: Tensor, { phases, cache, ...visible }: LayerContext): Tensor {
  const names = Object.keys(visible) as (keyof typeof visible)[];
  const present = names.filter((name) => visible[name] !== undefined);
  const tensors = present.map((name) => visible[name]!);
  return checkpoint(
    (x: Tensor, cos: Tensor, sin: Tensor, ...rest: Tensor[]) => {
      const again = Object.fromEntries(present.map((name, index) => [name, rest[index]]));
      return layer.forward(x, { ...visible, ...again, phases: { cos, sin }, cache });
    },
    input,
    phases.cos,
    phases.sin,
    ...tensors,
  );
}
