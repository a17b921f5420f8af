import { z } from "zod";

import { ACTIVATION_NAMES, type ActivationName } from "../layers/activations.ts";
import type { ConfigSource } from "./config-source.ts";

/** Gemma's two names of one setting: files have either or both. */
export const gemmaActivationFields: {
  readonly hidden_act: z.ZodOptional<z.ZodEnum<{ [K in ActivationName]: K }>>;
  readonly hidden_activation: z.ZodOptional<z.ZodNullable<z.ZodEnum<{ [K in ActivationName]: K }>>>;
} = {
  hidden_act: z.enum(ACTIVATION_NAMES).optional(),
  hidden_activation: z.enum(ACTIVATION_NAMES).nullable().optional(),
};

/** `hidden_activation` counts where a file has both; the first Gemma was published with a wrong `hidden_act` beside it. */
export function parseGemmaActivation(
  source: ConfigSource,
  fields: {
    readonly hidden_act?: ActivationName | undefined;
    readonly hidden_activation?: ActivationName | null | undefined;
  },
): ActivationName {
  const { hidden_act: old, hidden_activation: current } = fields;
  if (old !== undefined && current != null && old !== current) {
    source.onWarning(`${source.file}: hidden_activation (${current}) is taken, hidden_act (${old}) has no effect.`);
  }
  return current ?? old ?? "gelu_pytorch_tanh";
}
