/** The experts' part of a mixture-of-experts layer (https://arxiv.org/abs/1701.06538), composed: shared by all routers. */
import {
  addWeightedRows,
  cat,
  groupedLinear,
  indexSelect,
  isGradEnabled,
  Linear,
  reshape,
  scope,
  split,
  tensor,
  type Tensor,
} from "@fms-accel/tensor";

import { type Activation, gated } from "./activations.ts";

/** A part of all experts at once: rows `[n, in]` in the order of their experts, `counts[e]` of expert e, to rows `[n, out]`. */
export type Experts = (rows: Tensor, counts: readonly number[]) => Tensor;

/** A linear layer of one expert, or what an adapter puts in its place. */
export interface ExpertLayer {
  readonly weight: Tensor;
  forward(rows: Tensor): Tensor;
}

/** down(act(gate(x)) · up(x)) of one expert. */
export interface GatedExpert {
  readonly activation: Activation;
  forward(rows: Tensor): Tensor;
}

/** The layers of a gated expert. */
export interface GatedLayers {
  readonly gate: ExpertLayer;
  readonly up: ExpertLayer;
  readonly down: ExpertLayer;
}

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
 * @param x `[N, H]`
 * @param count of experts
 * @returns `[N, H]` with x's dtype; a weighted answer is rounded to it before it is added
 */
export function mixtureOfExperts(x: Tensor, routing: Routing, count: number, experts: Experts): Tensor {
  return scope(() => {
    const perToken = routing.experts.shape[1]!;
    const { order, counts } = byExpert(routing.experts.toInt32Array(), count);
    const token = tensor(
      order.map((choice) => Math.floor(choice / perToken)),
      { device: x.device },
    );
    const answers = experts(indexSelect(x, 0, token), counts);
    const weights = indexSelect(reshape(routing.weights, [-1]), 0, tensor(order, { device: x.device }));
    return addWeightedRows(answers, weights, token, { rows: x.shape[0]!, dtype: x.dtype });
  });
}

/** Choices in the order of their experts, as they come within each, and how many each expert has. */
function byExpert(chosen: Int32Array, experts: number): { order: Int32Array; counts: readonly number[] } {
  const counts = Array.from({ length: experts }, () => 0);
  for (const expert of chosen) counts[expert]!++;
  const next = new Int32Array(experts);
  for (let expert = 1; expert < experts; expert++) next[expert] = next[expert - 1]! + counts[expert - 1]!;
  const order = new Int32Array(chosen.length);
  chosen.forEach((expert, choice) => (order[next[expert]!++] = choice));
  return { order, counts };
}

/**
 * Experts that run one after the other, each on rows `[n, in]` of its own. One without tokens still runs, on no rows, where gradients are
 * recorded: the gradient of its weights is then 0 and not missing, so an optimiser treats it alike whether experts are separate
 * parameters or slices of one.
 */
export function oneByOne(experts: readonly ((rows: Tensor) => Tensor)[]): Experts {
  return (rows, counts) => {
    const answers = split(rows, counts, 0).flatMap((group, index) =>
      group.shape[0] === 0 && !isGradEnabled() ? [] : [experts[index]!(group)],
    );
    return cat(answers, 0);
  };
}

/** The same layer of all experts: one product where each is a linear layer and nothing else. */
export function linearOfExperts(layers: readonly ExpertLayer[]): Experts {
  return layers.every(isPlain) ? groupedLayers(layers) : oneByOne(layers.map((layer) => (rows) => layer.forward(rows)));
}

/**
 * Gated MLPs, down(act(gate(x)) · up(x)), as one product for each of their layers. Where an expert has an adapter, a bias or a forward that a
 * plugin has put there, all of them run one by one.
 */
export function gatedExperts<E extends GatedExpert>(
  experts: readonly E[],
  layersOf: (expert: E) => GatedLayers,
): Experts {
  const layers = experts.map(layersOf);
  if (experts.some(hasOwnForward) || !layers.every(({ gate, up, down }) => [gate, up, down].every(isPlain))) {
    return oneByOne(experts.map((expert) => (rows) => expert.forward(rows)));
  }
  const [gate, up, down] = (["gate", "up", "down"] as const).map((name) =>
    groupedLayers(layers.map((own) => own[name])),
  );
  const { activation } = experts[0]!;
  return (rows, counts) => down!(gated(activation, gate!(rows, counts), up!(rows, counts)), counts);
}

function groupedLayers(layers: readonly ExpertLayer[]): Experts {
  const weights = layers.map(({ weight }) => weight);
  return (rows, counts) => groupedLinear(rows, weights, counts);
}

function isPlain(layer: ExpertLayer): boolean {
  return layer instanceof Linear && layer.forward === Linear.prototype.forward && layer.bias === undefined;
}

function hasOwnForward(module: object): boolean {
  return Object.hasOwn(module, "forward");
}
