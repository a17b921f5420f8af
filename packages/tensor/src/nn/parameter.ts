import { native } from "../native.ts";
import { keep } from "../scope.ts";
import { Tensor } from "../tensor.ts";

/** A tensor that a module owns and an optimiser trains. It requires a gradient by default and belongs to no scope. */
export class Parameter extends Tensor {
  /** Shares the memory of `data`; whoever made `data` may dispose it. */
  constructor(data: Tensor, requiresGrad = true) {
    super(native.alias(data.handle));
    this.requiresGrad = requiresGrad;
    keep(this);
  }
}
