import { autocast, autocastDtype } from "../autocast.ts";
import { defaultGenerator } from "../random.ts";
import { scope, track } from "../scope.ts";
import type { Tensor } from "../tensor.ts";
import { gradMode, isGradEnabled, withGradMode } from "./grad-mode.ts";
import { backwardMany, recordMany } from "./tape.ts";

/**
 * Gradient checkpointing (Chen et al., 2016, arXiv:1604.06174): runs `body` without keeping what its backward needs, and runs
 * it again during backward, in the mixed precision of now. Random numbers of the default generator repeat, so dropout masks are the
 * same both times.
 * Gradients of parameters that `body` uses, and of `inputs`, are those of a plain call; other tensors from outside that need a
 * gradient must be passed as inputs.
 */
export function checkpoint<T extends Tensor | Tensor[]>(body: (...inputs: Tensor[]) => T, ...inputs: Tensor[]): T {
  if (!isGradEnabled()) return body(...inputs);
  const randomState = defaultGenerator.state();
  const dtype = autocastDtype();
  const skippedBefore = gradMode.skippedDifferentiable;
  gradMode.skippedDifferentiable = false;
  const result = withGradMode(false, () => scope(() => body(...inputs)));
  const isDifferentiable = gradMode.skippedDifferentiable;
  gradMode.skippedDifferentiable = skippedBefore || isDifferentiable;
  if (!isDifferentiable) return result;

  const outputs: Tensor[] = Array.isArray(result) ? result : [result];
  recordMany("checkpoint", outputs, inputs, inputs, (gradients, needs) => {
    const later = defaultGenerator.state();
    defaultGenerator.setState(randomState);
    const leaves = inputs.map((input, index) => {
      const leaf = input.detach();
      leaf.requiresGrad = needs[index] === true;
      return leaf;
    });
    const again = withGradMode(true, () => autocast(dtype, () => body(...leaves)));
    defaultGenerator.setState(later);
    const repeated: Tensor[] = Array.isArray(again) ? again : [again];
    backwardMany(
      repeated.flatMap((tensor, index) => {
        const gradient = gradients[index];
        return gradient === undefined ? [] : [{ tensor, gradient }];
      }),
    );
    return leaves.map((leaf) => {
      const gradient = leaf.grad;
      leaf.grad = undefined;
      if (gradient !== undefined) track(gradient); // a leaf's gradient is kept; this one is handed on and then done with
      return gradient;
    });
  });
  return result;
}
