import { empty, noGrad, Parameter, reshape, scope, slice, TensorError, type Module } from "@fms-accel/tensor";

/**
 * Gives trainable parameters memory of their own where they lie in the mapped file of a checkpoint, which cannot be written. Ties are kept:
 * a parameter that is used in several places is replaced in all of them.
 *
 * @returns how many were copied
 */
export function ownTrainableParameters(model: Module): number {
  const copies = new Map<Parameter, Parameter>();
  for (const [, module] of model.namedModules()) {
    for (const [field, parameter] of module.ownParameters()) {
      if (!parameter.requiresGrad) continue;
      let owned = copies.get(parameter);
      if (owned === undefined) {
        if (isWritable(parameter)) continue;
        owned = copyOf(parameter);
        copies.set(parameter, owned);
        parameter.dispose(); // now, so that its part of the file need not stay in memory beside the copy
      }
      Object.assign(module, { [field]: owned });
    }
  }
  return copies.size;
}

function copyOf(parameter: Parameter): Parameter {
  using memory = empty(parameter.shape, { dtype: parameter.dtype, device: parameter.device });
  memory.copyFrom(parameter);
  return new Parameter(memory, true);
}

/** Whether the engine lets the memory be written: tried on the first element, which is written as it is. */
function isWritable(parameter: Parameter): boolean {
  if (parameter.numel === 0) return true;
  try {
    noGrad(() =>
      scope(() => {
        const first = slice(reshape(parameter, [parameter.numel]), 0, 0, 1);
        first.copyFrom(first.toFloat32Array());
      }),
    );
    return true;
  } catch (error) {
    if (error instanceof TensorError) return false;
    throw error;
  }
}
