import { z } from "zod";

import type { RouterLossConfig } from "../layers/router-loss.ts";
import { type ConfigSource, configError } from "./config-source.ts";
import { size } from "./fields.ts";

/** Settings of a mixture of experts. */
export interface ExpertsConfig extends RouterLossConfig {
  readonly numExperts: number;
}

/** Keys of a mixture of experts. */
export const expertFields: {
  readonly num_local_experts: z.ZodNumber;
  readonly num_experts_per_tok: z.ZodNumber;
  readonly output_router_logits: z.ZodDefault<z.ZodBoolean>;
  readonly router_aux_loss_coef: z.ZodDefault<z.ZodNumber>;
} = {
  num_local_experts: size,
  num_experts_per_tok: size,
  output_router_logits: z.boolean().default(false),
  router_aux_loss_coef: z.number().default(0.001),
};

/** Checks and names what `expertFields` gives. */
export function parseExperts(source: ConfigSource, fields: z.output<z.ZodObject<typeof expertFields>>): ExpertsConfig {
  if (fields.num_experts_per_tok > fields.num_local_experts) {
    throw configError(
      source,
      ["num_experts_per_tok"],
      `expected at most the number of experts (${fields.num_local_experts}), found ${fields.num_experts_per_tok}`,
    );
  }
  return {
    numExperts: fields.num_local_experts,
    numExpertsPerToken: fields.num_experts_per_tok,
    outputRouterLogits: fields.output_router_logits,
    routerAuxLossCoef: fields.router_aux_loss_coef,
  };
}
