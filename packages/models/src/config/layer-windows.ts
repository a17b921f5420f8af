import { z } from "zod";

import { type ConfigSource, configError } from "./config-source.ts";
import { size } from "./fields.ts";

/** The attention window of every layer, in tokens; undefined for a layer that sees the whole past. */
export type LayerWindows = readonly (number | undefined)[];

/** Keys of windows. `layer_types` is what transformers 5 writes; older files leave it to the architecture. */
export const windowFields: {
  readonly sliding_window: z.ZodOptional<z.ZodNullable<z.ZodNumber>>;
  readonly layer_types: z.ZodOptional<z.ZodNullable<z.ZodArray<z.ZodString>>>;
} = {
  sliding_window: size.nullable().optional(),
  layer_types: z.array(z.string()).nullable().optional(),
};

/**
 * The window of every layer.
 * @param layerTypes as the file lists them, if it does
 * @param isWindowed what the architecture does where the file lists nothing
 */
export function parseLayerWindows(
  source: ConfigSource,
  layers: number,
  layerTypes: readonly string[] | null | undefined,
  window: number | undefined,
  isWindowed: (layer: number) => boolean,
): LayerWindows {
  if (layerTypes != null && layerTypes.length !== layers) {
    throw configError(
      source,
      ["layer_types"],
      `expected one for each of ${layers} layers (num_hidden_layers), found ${layerTypes.length}`,
    );
  }
  return Array.from({ length: layers }, (_, layer) => {
    const type = layerTypes?.[layer];
    if (type !== undefined && type !== "full_attention" && type !== "sliding_attention") {
      throw configError(
        source,
        ["layer_types", layer],
        `expected "full_attention" or "sliding_attention", found "${type}"`,
      );
    }
    const windowed = type === undefined ? isWindowed(layer) : type === "sliding_attention";
    if (windowed && window === undefined) {
      throw configError(source, ["sliding_window"], "expected a number of tokens, since some layers have a window");
    }
    return windowed ? window : undefined;
  });
}
