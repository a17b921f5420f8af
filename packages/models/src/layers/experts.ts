/** The experts' part of a mixture-of-experts layer (https://arxiv.org/abs/1701.06538), composed: shared by all routers. */
import {
  arange,
  cat,
  eq,
  indexAdd,
  indexSelect,
  isGradEnabled,
  mul,
  cast,
  repeatInterleave,
  reshape,
  scope,
  sort,
  split,
  sum,
  type Tensor,
  unsqueeze,
  zeros,
} from "@fms-accel/tensor";

/** Rows `[n, H]` to rows `[n, H]`; n may be 0. */
export type Expert = (rows: Tensor) => Tensor;

/** What a router decided for each of N tokens. */
export interface Routing {
  /** Integers `[N, k]`: the experts of a token, all different. */
  readonly experts: Tensor;
  /** `[N, k]`: what each expert's answer counts. */
  readonly weights: Tensor;
}

/**
 * Sends every token to its experts and adds up their weighted answers. Tokens are gathered in the order of their experts, so that an
 * expert sees its own as one matrix, and their answers are added back in that order: sums never depend on chance.
 *
 * An expert without tokens still runs, on no rows, where gradients are recorded: the gradient of its weights is then 0 and not
 * missing, so an optimiser treats it alike whether experts are separate parameters or slices of one.
 * @param x `[N, H]`
 * @returns `[N, H]` with x's dtype; a weighted answer is rounded to it before it is added
 */
export function mixtureOfExperts(x: Tensor, routing: Routing, experts: readonly Expert[]): Tensor {
  return scope(() => {
    const [tokens, hidden] = x.shape as [number, number];
    const perToken = routing.experts.shape[1]!;
    const chosen = reshape(routing.experts, [-1]);
    const order = sort(chosen, 0).indices;
    const token = indexSelect(repeatInterleave(arange(0, tokens, 1, { device: x.device }), perToken, 0), 0, order);
    const groups = split(indexSelect(x, 0, token), [...countPerExpert(chosen, experts.length)], 0);
    const answers = groups.flatMap((rows, index) =>
      rows.shape[0] === 0 && !isGradEnabled() ? [] : [experts[index]!(rows)],
    );
    const weights = unsqueeze(indexSelect(reshape(routing.weights, [-1]), 0, order), 1);
    const weighted = cast(mul(cat(answers, 0), weights), x.dtype);
    return indexAdd(zeros([tokens, hidden], { dtype: x.dtype, device: x.device }), 0, token, weighted);
  });
}

/** How often each expert occurs among the chosen ones. */
function countPerExpert(chosen: Tensor, experts: number): Int32Array {
  const each = arange(0, experts, 1, { dtype: chosen.dtype, device: chosen.device });
  return cast(sum(eq(unsqueeze(chosen, 1), each), 0), "int32").toInt32Array();
}
