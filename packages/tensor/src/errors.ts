/** Every error of the tensor engine: a wrong shape, dtype, index, device, a disposed tensor, no memory. */
export class TensorError extends Error {
  override readonly name: string = "TensorError";
}
