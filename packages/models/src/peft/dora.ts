/** Weight-decomposed low-rank adaptation (Liu et al., 2024, arXiv:2402.09353). */
import {
  add,
  autocast,
  cast,
  clamp,
  div,
  keep,
  matmul,
  Module,
  mul,
  noGrad,
  Parameter,
  scope,
  sqrt,
  square,
  sum,
  type Tensor,
} from "@fms-accel/tensor";

/** The lengths that an adapter gives to the rows of a weight: `weight` is float32 `[out]`. */
export class DoraMagnitude extends Module {
  weight: Parameter;
  /** Squared lengths of the rows of the base weight, which is frozen: computed once. */
  #baseSquares: Tensor | undefined;
  #factors: Tensor | undefined;

  constructor(magnitude: Tensor) {
    super();
    this.weight = new Parameter(magnitude);
    this.#baseSquares = undefined;
    this.#factors = undefined;
  }

  /**
   * What the rows of the adapted weight are multiplied by to get the learnt lengths: `[out]`, float32. As the paper says
   * (section 4.3), the lengths themselves count as constants in backward.
   * @param weight gives the base weight as `[out, in]`
   * @param held whether no weight changes until `forget`: the factors are then computed once
   */
  rowFactors(weight: () => Tensor, a: Tensor, b: Tensor, scaling: number, held: boolean): Tensor {
    if (held && this.#factors !== undefined) {
      return this.#factors;
    }
    const norms = noGrad(() =>
      scope(() => {
        const base = weight();
        this.#baseSquares ??= keep(squaredRows(base));
        return adaptedRowNorms(this.#baseSquares, base, a, b, scaling);
      }),
    );
    if (!held) {
      return div(this.weight, norms);
    }
    this.#factors = keep(noGrad(() => div(this.weight, norms)));
    return this.#factors;
  }

  /** Drops the factors that were kept while weights were held. */
  forget(): void {
    this.#factors?.dispose();
    this.#factors = undefined;
  }
}

/** Lengths of the rows of W + scaling · B · A, float32 `[out]`: the initial magnitude. */
export function rowNorms(base: Tensor, a: Tensor, b: Tensor, scaling: number): Tensor {
  return noGrad(() => scope(() => adaptedRowNorms(squaredRows(base), base, a, b, scaling)));
}

function squaredRows(base: Tensor): Tensor {
  return sum(square(cast(base, "float32")), 1);
}

/**
 * The squared length of row i of W + s·B·A, without forming that matrix:
 * |W_i|² + 2s · (W·Aᵀ)_i · B_i + s² · B_i · (A·Aᵀ) · B_iᵀ.
 */
function adaptedRowNorms(squares: Tensor, base: Tensor, a: Tensor, b: Tensor, scaling: number): Tensor {
  return autocast("float32", () => {
    const wideB = cast(b, "float32");
    const cross = sum(mul(matmul(base, a, { transposeB: true }), wideB), 1);
    const gram = matmul(a, a, { transposeB: true });
    const own = sum(mul(matmul(wideB, gram), wideB), 1);
    const total = add(squares, add(mul(cross, 2 * scaling), mul(own, scaling * scaling)));
    return sqrt(clamp(total, 0)); // rounding may leave a zero row a little below 0
  });
}
