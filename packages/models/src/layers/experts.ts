/** The experts' part of a mixture-of-experts layer (https://arxiv.org/abs/1701.06538), composed: shared by all routers. */
import {
  add,
  addWeightedRows,
  arange,
  cat,
  dropout,
  expand,
  groupedLinear,
  groupRows,
  indexSelect,
  isGradEnabled,
  Linear,
  mul,
  reshape,
  type RowGroups,
  scope,
  split,
  type Tensor,
  unsqueeze,
} from "@fms-accel/tensor";

import { type Activation, gated } from "./activations.ts";

/** A part of all experts at once: rows `[n, in]` in the order of their experts, to rows `[n, out]`. */
export type Experts = (rows: Tensor, groups: RowGroups) => Tensor;

/** A linear layer of one expert, or what an adapter puts in its place. */
export interface ExpertLayer {
  readonly weight: Tensor;
  forward(rows: Tensor): Tensor;
  /** Where there are adapters that add low-rank products and nothing else: what they add to which layer. */
  lowRank?(): { readonly base: ExpertLayer; readonly changes: readonly LowRankChange[] } | undefined;
}

/** scaling · b · a · x, for x after dropout. */
export interface LowRankChange {
  /** `[r, in]` */
  readonly a: Tensor;
  /** `[out, r]` */
  readonly b: Tensor;
  readonly scaling: number;
  /** Probability that a number of x is dropped now. */
  readonly dropout: number;
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
 * expert sees its own as one matrix, and their answers are added back in that order: sums never depend on chance. How many tokens an expert
 * has stays where they lie, so no GPU is waited for.
 * @param x `[N, H]`
 * @param count of experts
 * @returns `[N, H]` with x's dtype; a weighted answer is rounded to it before it is added
 */
export function mixtureOfExperts(x: Tensor, routing: Routing, count: number, experts: Experts): Tensor {
  return scope(() => {
    const [tokens, perToken] = routing.experts.shape as [number, number];
    const groups = groupRows(reshape(routing.experts, [-1]), count);
    const choices = expand(unsqueeze(arange(0, tokens, 1, { dtype: "int64", device: x.device }), 1), [
      tokens,
      perToken,
    ]);
    const token = indexSelect(reshape(choices, [-1]), 0, groups.order);
    const answers = experts(indexSelect(x, 0, token), groups);
    const weights = indexSelect(reshape(routing.weights, [-1]), 0, groups.order);
    return addWeightedRows(answers, weights, token, { rows: tokens, dtype: x.dtype });
  });
}

/**
 * Experts that run one after the other, each on rows `[n, in]` of its own. One without tokens still runs, on no rows, where gradients are
 * recorded: the gradient of its weights is then 0 and not missing, so an optimiser treats it alike whether experts are separate
 * parameters or slices of one. The host has to know how many rows each has: it waits for a GPU.
 */
export function oneByOne(experts: readonly ((rows: Tensor) => Tensor)[]): Experts {
  return (rows, groups) => {
    const answers = split(rows, groups.counts(), 0).flatMap((group, index) =>
      group.shape[0] === 0 && !isGradEnabled() ? [] : [experts[index]!(group)],
    );
    return cat(answers, 0);
  };
}

/** The same layer of all experts: one product where each is a linear layer, and one for each factor of their adapters. */
export function linearOfExperts(layers: readonly ExpertLayer[]): Experts {
  return groupedLayers(layers) ?? oneByOne(layers.map((layer) => (rows) => layer.forward(rows)));
}

/**
 * Gated MLPs, down(act(gate(x)) · up(x)), as one product for each of their layers. Where an expert has a bias, an adapter that is more than a
 * low-rank product or unlike that of the others, or a forward that a plugin has put there, all of them run one by one.
 */
export function gatedExperts<E extends GatedExpert>(
  experts: readonly E[],
  layersOf: (expert: E) => GatedLayers,
): Experts {
  const layers = experts.map(layersOf);
  const [gate, up, down] = (["gate", "up", "down"] as const).map((name) =>
    groupedLayers(layers.map((own) => own[name])),
  );
  if (gate === undefined || up === undefined || down === undefined || experts.some(hasOwnForward)) {
    return oneByOne(experts.map((expert) => (rows) => expert.forward(rows)));
  }
  const { activation } = experts[0]!;
  return (rows, groups) => down(gated(activation, gate(rows, groups), up(rows, groups)), groups);
}

interface LayerParts {
  readonly weight: Tensor;
  readonly changes: readonly LowRankChange[];
}

/** Undefined where the layers are not such as one product each can stand for. */
function groupedLayers(layers: readonly ExpertLayer[]): Experts | undefined {
  const parts = layers.flatMap((layer) => partsOf(layer) ?? []);
  const [first] = parts;
  if (first === undefined || parts.length < layers.length || !parts.every((each) => isAlike(each, first))) {
    return undefined;
  }
  const weights = parts.map(({ weight }) => weight);
  const factors = first.changes.map((change, index) => ({
    ...change,
    a: parts.map(({ changes }) => changes[index]!.a),
    b: parts.map(({ changes }) => changes[index]!.b),
  }));
  return (rows, groups) =>
    factors.reduce(
      (sum, { a, b, scaling, dropout: probability }) => {
        const narrow = groupedLinear(probability > 0 ? dropout(rows, probability) : rows, a, groups);
        return add(sum, groupedLinear(mul(narrow, scaling), b, groups));
      },
      groupedLinear(rows, weights, groups),
    );
}

function partsOf(layer: ExpertLayer): LayerParts | undefined {
  if (isPlain(layer)) return { weight: layer.weight, changes: [] };
  const adapted = hasOwnForward(layer) ? undefined : layer.lowRank?.();
  return adapted !== undefined && isPlain(adapted.base)
    ? { weight: adapted.base.weight, changes: adapted.changes }
    : undefined;
}

function isAlike({ weight, changes }: LayerParts, other: LayerParts): boolean {
  return (
    weight.dtype === other.weight.dtype &&
    changes.length === other.changes.length &&
    changes.every((change, index) => {
      const { a, b, scaling, dropout: probability } = other.changes[index]!;
      return (
        change.a.shape[0] === a.shape[0] &&
        change.a.dtype === a.dtype &&
        change.b.dtype === b.dtype &&
        change.scaling === scaling &&
        change.dropout === probability
      );
    })
  );
}

function isPlain(layer: ExpertLayer): boolean {
  return layer instanceof Linear && layer.forward === Linear.prototype.forward && layer.bias === undefined;
}

function hasOwnForward(module: object): boolean {
  return Object.hasOwn(module, "forward");
}
