import { join } from "node:path";
import { AdapterModel, CausalLM, Checkpoint, modelTensors, SafetensorsFile, savePretrained } from "@fms-accel/models";
import { noGrad, scope, type Tensor } from "@fms-accel/tensor";
import { TrainingCheckpointError } from "../errors.ts";
import type { TrainableModel } from "../slots.ts";
import type { ModelFiles } from "./model-files.ts";

/** Hugging Face's layout: an adapter's files for a PEFT model, config.json and safetensors for any other. */
export const pretrainedFiles: ModelFiles<TrainableModel> = {
  save(model, directory) {
    if (model instanceof AdapterModel) model.savePretrained(directory);
    else savePretrained(requireCausalLM(model), directory);
  },

  restore(model, directory) {
    if (model instanceof AdapterModel) {
      for (const adapter of model.adapterNames) restoreAdapter(model, adapter, directory);
      return;
    }
    const own = modelTensors(requireCausalLM(model));
    // Separately, so that what is copied leaves memory at once.
    using checkpoint = Checkpoint.open(directory, { separately: true });
    copyTensors(own, (name) => checkpoint.tensor(name));
  },
};

/** The adapter named default lies in the folder itself, others in a folder of their name. */
function restoreAdapter(model: AdapterModel, adapter: string, directory: string): void {
  const folder = adapter === "default" ? directory : join(directory, adapter);
  using file = SafetensorsFile.open(join(folder, "adapter_model.safetensors"));
  scope(() => {
    const own = [...model.adapterStateDict(adapter)];
    const stored = own.map(([name, tensor]) => [name, checkedTensor(name, tensor, () => file.tensor(name))] as const);
    model.setAdapterStateDict(new Map(stored), adapter);
  });
}

function copyTensors(own: ReadonlyMap<string, Tensor>, read: (name: string) => Tensor): void {
  noGrad(() => {
    for (const [name, tensor] of own) {
      using stored = checkedTensor(name, tensor, read);
      tensor.copyFrom(stored);
    }
  });
}

/** @throws TrainingCheckpointError where a copy would not be to the bit */
function checkedTensor(name: string, tensor: Tensor, read: (name: string) => Tensor): Tensor {
  const stored = read(name);
  if (stored.dtype !== tensor.dtype || stored.shape.join() !== tensor.shape.join()) {
    const found = `${stored.dtype} [${stored.shape.join(", ")}]`;
    stored.dispose();
    throw new TrainingCheckpointError(
      `${name}: expected ${tensor.dtype} [${tensor.shape.join(", ")}] as in the model, found ${found}. ` +
        "Load the model as it was when the checkpoint was written.",
    );
  }
  return stored;
}

function requireCausalLM(model: TrainableModel): CausalLM {
  if (model instanceof CausalLM) return model;
  throw new TrainingCheckpointError(
    "This model is not one of @fms-accel/models: give the trainer modelFiles that can save and restore it.",
  );
}
