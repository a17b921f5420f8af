/** Rows that come back from where an index sent them, as answers of experts to their tokens. Native side: native/cpu/indexing.cc. */
import { recordOperation } from "../autograd/tape.ts";
import { zeros } from "../create.ts";
import { type DType, dtypeCode, isFloating } from "../dtype.ts";
import { TensorError } from "../errors.ts";
import { native } from "../native.ts";
import { Tensor } from "../tensor.ts";
import { cast, mul } from "./elementwise.ts";
import { indexAdd } from "./indexing.ts";
import { reshape } from "./shape.ts";

export interface AddWeightedRowsOptions {
  /** Of the result: how many rows it has. */
  readonly rows: number;
  /** Of the result, and what weighted rows are rounded to before they are added; default: that of `source`. */
  readonly dtype?: DType | undefined;
}

/**
 * result[i] = Σ source[j] · weights[j] over all j with index[j] = i, in their order; 0 where there is none. One pass on the CPU, and one for both
 * gradients; else `composedAddWeightedRows`. Both give the same bits.
 *
 * @param source floating `[N, ...]`
 * @param weights floating `[N]`; they are multiplied in float32
 * @param index integers `[N]` in [0, rows)
 * @returns `[rows, ...]`
 * @throws {TensorError} for shapes that do not fit, and for an index outside of the result
 */
export function addWeightedRows(
  source: Tensor,
  weights: Tensor,
  index: Tensor,
  { rows, dtype = source.dtype }: AddWeightedRowsOptions,
): Tensor {
  if (source.device !== "cpu") return composedAddWeightedRows(source, weights, index, { rows, dtype });
  const factors = cast(weights, "float32");
  const result = new Tensor(
    native.addWeightedRows(source.handle, factors.handle, index.handle, rows, dtypeCode(dtype)),
  );
  const saved = [source, factors, index];
  return recordOperation("addWeightedRows", result, [source, factors], saved, (g, [ofSource, ofWeights]) =>
    native
      .weightedRowsGradients(
        g.handle,
        source.handle,
        factors.handle,
        index.handle,
        ofSource === true,
        ofWeights === true,
      )
      .map((handle) => (handle === undefined ? undefined : new Tensor(handle))),
  );
}

/** `addWeightedRows` of primitive operations: what the kernel is tested against. */
export function composedAddWeightedRows(
  source: Tensor,
  weights: Tensor,
  index: Tensor,
  { rows, dtype = source.dtype }: AddWeightedRowsOptions,
): Tensor {
  checkFit(source, weights, index, dtype);
  const columns = source.shape.slice(1);
  const each = reshape(cast(weights, "float32"), [weights.numel, ...columns.map(() => 1)]);
  const target = zeros([rows, ...columns], { dtype, device: source.device });
  return indexAdd(target, 0, index, cast(mul(source, each), dtype));
}

const complaint = (text: string): TensorError => new TensorError(`addWeightedRows: expected ${text}`);

// What the kernel checks too, in the same words.
function checkFit(source: Tensor, weights: Tensor, index: Tensor, dtype: DType): void {
  const sizes = `[${source.shape.join(", ")}]`;
  if (source.ndim === 0) throw complaint("rows, found a scalar");
  if (!isFloating(source.dtype) || !isFloating(dtype)) {
    throw complaint(`floating rows of one shape, found ${source.dtype} ${sizes} and ${dtype}`);
  }
  if (index.ndim !== 1 || index.shape[0] !== source.shape[0]) {
    throw complaint(`an index for each row of ${sizes}, found [${index.shape.join(", ")}]`);
  }
  if (weights.ndim !== 1 || weights.shape[0] !== source.shape[0]) {
    throw complaint(
      `float32 weights [${index.shape.join(", ")}], found ${weights.dtype} [${weights.shape.join(", ")}]`,
    );
  }
}
