import type { CausalLMInputs } from "@fms-accel/models";
import type { Tensor } from "@fms-accel/tensor";
import { TrainingError } from "../errors.ts";
import type { TrainableModel } from "../slots.ts";

/** The loss that the model itself computes from its labels: the default of the loss slot. */
export function modelLoss(model: TrainableModel, inputs: CausalLMInputs): Tensor {
  const { loss } = model.forward(inputs);
  if (loss === undefined) throw new TrainingError("The model returned no loss although it was given labels.");
  return loss;
}
