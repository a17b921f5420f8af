import {
  add,
  arange,
  cast,
  div,
  eq,
  mul,
  noGrad,
  reshape,
  scope,
  slice,
  softmax,
  sum,
  type Tensor,
  to,
  topk,
  unsqueeze,
  zeros,
} from "@fms-accel/tensor";

import type { CausalLMInputs } from "../modeling/causal-lm.ts";

/** The settings of a mixture of experts that its router loss needs. */
export interface RouterLossConfig {
  readonly numExpertsPerToken: number;
  /** Whether the router loss is part of the loss (`output_router_logits`). */
  readonly outputRouterLogits: boolean;
  /** What the router loss counts beside the cross entropy (`router_aux_loss_coef`). */
  readonly routerAuxLossCoef: number;
}

/**
 * Load-balancing loss of the Switch Transformer (https://arxiv.org/abs/2101.03961, equations 4 to 6) over all layers together:
 * experts · Σ_e (share of tokens that chose e) · (mean probability of e). It is smallest when all experts are used alike.
 * @param routerLogits of each layer `[B·T, experts]`
 * @param attentionMask `[B, T]`; positions at 0 do not count. Absent: all do.
 * @returns float32 scalar
 */
export function loadBalancingLoss(
  routerLogits: readonly Tensor[],
  perToken: number,
  attentionMask: Tensor | undefined,
): Tensor {
  return scope(() => {
    const experts = routerLogits[0]!.shape[1]!;
    const device = routerLogits[0]!.device;
    const rowWeights = attentionMask && reshape(cast(to(attentionMask, device), "float32"), [-1, 1]);
    const counted = (rows: Tensor): Tensor => sum(rowWeights === undefined ? rows : mul(rows, rowWeights), 0);
    let choices = zeros([experts], { device });
    let probabilities = zeros([experts], { device });
    for (const logits of routerLogits) {
      const routed = softmax(logits, -1, "float32");
      choices = add(choices, counted(noGrad(() => chosenExperts(routed, perToken))));
      probabilities = add(probabilities, counted(routed));
    }
    const total =
      rowWeights === undefined
        ? routerLogits[0]!.shape[0]! * routerLogits.length
        : mul(sum(rowWeights), routerLogits.length);
    return mul(sum(mul(div(choices, total), div(probabilities, total))), experts);
  });
}

/** float32 `[N, experts]`: 1 where an expert is among a token's k most probable ones. */
function chosenExperts(probabilities: Tensor, perToken: number): Tensor {
  const { indices } = topk(probabilities, perToken, -1);
  const each = arange(0, probabilities.shape[1]!, 1, { dtype: indices.dtype, device: indices.device });
  return sum(cast(eq(unsqueeze(indices, 2), each), "float32"), 1);
}

/**
 * What a forward call adds to its loss: the load-balancing loss times its coefficient, in full whatever the loss is divided by. Absent
 * without labels, where the configuration has it switched off, and where no layer has experts.
 */
export function routerLoss(
  routerLogits: readonly Tensor[],
  config: RouterLossConfig,
  inputs: CausalLMInputs,
): Tensor | undefined {
  if (inputs.labels === undefined || !config.outputRouterLogits || routerLogits.length === 0) {
    return undefined;
  }
  const { attentionMask } = inputs;
  const [cached, length] = [attentionMask?.shape[1] ?? 0, inputs.inputIds.shape[1]!];
  // Of a mask that covers cached positions too, only those of this call have router logits.
  const mask = attentionMask && slice(attentionMask, 1, Math.max(cached - length, 0));
  return mul(loadBalancingLoss(routerLogits, config.numExpertsPerToken, mask), config.routerAuxLossCoef);
}
