import type { Device, DType } from "@fms-accel/tensor";
import type { TrainingArguments } from "../arguments/groups.ts";
import { TrainingError } from "../errors.ts";
import type { TrainableModel } from "../slots.ts";

/** The dtype that mixed precision computes in, as an option of the loops; empty without mixed precision. */
export function precisionOf(args: Pick<TrainingArguments, "bf16" | "fp16">): { autocastDtype?: DType } {
  if (args.bf16) return { autocastDtype: "bfloat16" };
  return args.fp16 ? { autocastDtype: "float16" } : {};
}

/** Where a model lives: the device of its first parameter. */
export function modelDevice(model: TrainableModel): Device {
  for (const [, parameter] of model.namedParameters()) return parameter.device;
  throw new TrainingError("The model has no parameters.");
}

/** Switches gradient checkpointing on in every part of the model that has it. */
export function enableGradientCheckpointing(model: TrainableModel): void {
  let found = false;
  for (const [, module] of model.namedModules()) {
    if (!("gradientCheckpointing" in module)) continue;
    module.gradientCheckpointing = true;
    found = true;
  }
  if (!found) throw new TrainingError("gradient_checkpointing: no part of this model can recompute its activations.");
}
