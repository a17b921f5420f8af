import { scope, type Tensor } from "@fms-accel/tensor";

import type { TensorMapping } from "../architectures/architecture.ts";
import { CheckpointError } from "../errors.ts";
import type { Checkpoint, CheckpointTensor } from "../safetensors/checkpoint.ts";

/** The weights that a model is loaded from. */
export type WeightSource = Pick<Checkpoint, "directory" | "tensors" | "tensor">;

/**
 * A checkpoint under the names and shapes of the published layout: each tensor that a mapping fits is replaced by its parts, which are
 * views of it. Others stay as they are.
 * @throws CheckpointError when a checkpoint holds a weight in both layouts
 */
export function mapTensors(checkpoint: Checkpoint, mappings: readonly TensorMapping[]): WeightSource {
  const tensors = new Map<string, CheckpointTensor>();
  const takes = new Map<string, () => Tensor>();
  const put = (name: string, entry: CheckpointTensor, from: string): void => {
    if (tensors.has(name)) {
      throw new CheckpointError(
        `${checkpoint.directory}: "${from}" in ${entry.file} holds "${name}", which the checkpoint has twice, in two layouts. Keep one.`,
      );
    }
    tensors.set(name, entry);
  };
  for (const [name, entry] of checkpoint.tensors) {
    const parts = mappings.flatMap(({ pattern, parts }) => {
      const match = pattern.exec(name);
      return match === null ? [] : parts(match, entry.shape);
    });
    for (const part of parts) {
      put(part.name, { ...entry, name: part.name, shape: part.shape }, name);
      takes.set(part.name, () => scope(() => part.take(checkpoint.tensor(name))));
    }
    if (parts.length === 0) {
      put(name, entry, name);
    }
  }
  return {
    directory: checkpoint.directory,
    tensors,
    tensor: (name) => takes.get(name)?.() ?? checkpoint.tensor(name),
  };
}
