import { empty, Parameter, type Tensor } from "@fms-accel/tensor";

/**
 * A parameter with memory of its own and the values of `source`. Weights of an opened checkpoint lie in a mapped file that cannot be
 * written: whatever is to be trained or loaded into is copied first.
 */
export function ownedParameter(source: Tensor, requiresGrad: boolean): Parameter {
  const { shape, dtype, device } = source;
  const memory = empty(shape, { dtype, device });
  memory.copyFrom(source);
  const parameter = new Parameter(memory, requiresGrad);
  memory.dispose();
  return parameter;
}

/** A parameter that shares the memory of `tensor`, which is given up. */
export function takenParameter(tensor: Tensor, requiresGrad: boolean): Parameter {
  const parameter = new Parameter(tensor, requiresGrad);
  tensor.dispose();
  return parameter;
}
