import { TensorError } from "../errors.ts";
import { native } from "../native.ts";
import { globalNorm } from "../ops/norm.ts";
import { Tensor } from "../tensor.ts";

/**
 * Scales the gradients of `params` by min(1, maxNorm / (norm + 1e-6)), in place, where norm is the Euclidean norm of all of them
 * together. Returns that norm, before clipping. As torch.nn.utils.clip_grad_norm_ with error_if_nonfinite = false: a NaN in the gradients
 * makes all of them NaN, an infinity makes the others 0; look at the returned norm before the step. Parameters without a gradient are
 * skipped; `maxNorm` may be Infinity, which leaves finite gradients as they are. Throws TensorError for a negative or NaN maxNorm.
 */
export function clipGradNorm(params: Iterable<Tensor>, maxNorm: number): number {
  checkMaxNorm("clipGradNorm", maxNorm);
  const gradients = [...params].flatMap(({ grad }) => (grad === undefined ? [] : [grad]));
  const norm = globalNorm(gradients);
  const coefficient = maxNorm / (norm + 1e-6);
  // A NaN coefficient is no number below 1, but it must spread.
  if (!(coefficient >= 1))
    native.scaleInPlace(
      gradients.map(({ handle }) => handle),
      coefficient,
      false,
    );
  return norm;
}

/**
 * `clipGradNorm` without a value that comes to the host, so that nothing waits for the device.
 *
 * @param values float32, contiguous, on the gradients' device: what else must be finite, such as losses
 * @returns float32 [2] on the device: the norm before clipping; 1 where it and `values` are finite, else 0. `AdamW.step` takes it
 */
export function clipGradients(params: Iterable<Tensor>, maxNorm: number, values: Tensor): Tensor {
  checkMaxNorm("clipGradients", maxNorm);
  const gradients = [...params].flatMap(({ grad }) => (grad === undefined ? [] : [grad.handle]));
  return new Tensor(native.clipGradients(gradients, maxNorm, values.handle));
}

function checkMaxNorm(op: string, maxNorm: number): void {
  if (!(maxNorm >= 0)) throw new TensorError(`${op}: expected a maximal norm of at least 0, found ${maxNorm}`);
}

/**
 * Divides the gradients of `params` by the factor that their loss was scaled by, in place. Returns whether all of them were finite; a step
 * with gradients that are not must be skipped, and the scale lowered.
 */
export function unscaleGradients(params: Iterable<Tensor>, scale: number): boolean {
  if (!(scale > 0 && scale < Infinity))
    throw new TensorError(`unscaleGradients: expected a positive scale, found ${scale}`);
  const gradients = [...params].flatMap(({ grad }) => (grad === undefined ? [] : [grad.handle]));
  return native.scaleInPlace(gradients, 1 / scale, true);
}
