import { Linear, Module, noGrad, type RowGroups, scope, select, stack, type Tensor } from "@fms-accel/tensor";

import type { GraniteMoeParallelExperts } from "../architectures/granitemoe.ts";
import { linearOfExperts } from "../layers/experts.ts";
import { takenParameter } from "./owned-parameter.ts";

/** A linear layer, or one with adapters in its place. */
interface ExpertLayer extends Module {
  weight: Tensor;
  forward(x: Tensor): Tensor;
}

/**
 * Parallel experts opened for adapters: a linear layer for each, whose weight is a view of the shared parameter. It stands in the place of the
 * module that it was made of until `close`.
 */
export class LoraParallelExperts extends Module {
  readonly experts: ExpertLayer[];
  readonly #original: GraniteMoeParallelExperts;
  readonly #views: readonly Tensor[];

  constructor(original: GraniteMoeParallelExperts) {
    super();
    const { dtype, device, shape } = original.weight;
    const [count, outFeatures, inFeatures] = shape as [number, number, number];
    this.experts = Array.from({ length: count }, (_, index) => {
      const layer = new Linear(inFeatures, outFeatures, { bias: false, dtype, device });
      layer.weight.dispose();
      layer.weight = takenParameter(select(original.weight, 0, index), false);
      return layer;
    });
    this.#original = original;
    this.#views = this.experts.map(({ weight }) => weight);
    this.train(original.training);
  }

  /** The parameter that they were, and its views: all that holds its memory. */
  get weights(): readonly Tensor[] {
    return [...this.#views, this.#original.weight];
  }

  /** Rows `[n, in]` in the order of their experts → `[n, out]`. */
  forward(rows: Tensor, groups: RowGroups): Tensor {
    return linearOfExperts(this.experts)(rows, groups);
  }

  /** @returns the module as it was, with the weights that its experts have now */
  close(): GraniteMoeParallelExperts {
    const weights = this.experts.map(({ weight }) => weight);
    if (weights.some((weight, index) => weight !== this.#views[index])) {
      const before = this.#original.weight;
      this.#original.weight = takenParameter(
        noGrad(() => scope(() => stack(weights, 0))),
        false,
      );
      before.dispose();
    }
    weights.forEach((weight) => weight.dispose());
    return this.#original;
  }
}
