import { AdamW, type Parameter } from "@fms-accel/tensor";
import type { Optimizer, OptimizerState } from "./optimizer.ts";
import type { NamedParameterGroup } from "./parameter-groups.ts";

/** AdamW over named parameter groups. */
export class NamedAdamW implements Optimizer {
  readonly params: readonly Parameter[];
}
