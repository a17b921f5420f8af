import { CausalLM, Checkpoint, modelTensors, savePretrained } from "@fms-accel/models";
import { noGrad } from "@fms-accel/tensor";
import { TrainingCheckpointError } from "../errors.ts";
import type { TrainableModel } from "../slots.ts";
import type { ModelFiles } from "./model-files.ts";

/** Hugging Face's layout: an adapter's files for a PEFT model, config.json and safetensors for any other. */
export const pretrainedFiles: ModelFiles<TrainableModel> = {
  save(model, directory) {
    savePretrained(requireCausalLM(model), directory);
  },

  restore(model, directory) {
    const own = modelTensors(requireCausalLM(model));
    using checkpoint = Checkpoint.open(directory);
    noGrad(() => {
      for (const [name, tensor] of own) {
        using stored = checkpoint.tensor(name);
        tensor.copyFrom(stored);
      }
    });
  },
};

function requireCausalLM(model: TrainableModel): CausalLM {
  if (model instanceof CausalLM) return model;
  throw new TrainingCheckpointError(
    "This model is not one of @fms-accel/models: give the trainer modelFiles that can save and restore it.",
  );
}
