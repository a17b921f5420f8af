import { type ConfigSource, configError, parseWith } from "./config-source.ts";
import { positive } from "./fields.ts";
import { z } from "zod";

const factor = positive.max(1);

/**
 * The part of a head that is rotated: `partial_rotary_factor` beside the RoPE settings, or inside `rope_parameters` as
 * transformers 5 writes it.
 */
export function parsePartialRotaryFactor(
  source: ConfigSource,
  fields: {
    readonly partial_rotary_factor?: number | null | undefined;
    readonly rope_parameters?: Readonly<Record<string, unknown>> | null | undefined;
  },
  otherwise: number,
): number {
  const beside = fields.partial_rotary_factor ?? undefined;
  const schema = z.object({ partial_rotary_factor: factor.nullable().optional() });
  const inside = parseWith(source, schema, fields.rope_parameters ?? {}, ["rope_parameters"]).partial_rotary_factor;
  if (beside !== undefined && inside != null && beside !== inside) {
    throw configError(
      source,
      ["partial_rotary_factor"],
      `contradicts rope_parameters.partial_rotary_factor (${inside}), found ${beside}`,
    );
  }
  return beside ?? inside ?? otherwise;
}
