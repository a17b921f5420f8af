/** One adapter made of several, each with a weight: PEFT's `add_weighted_adapter`. */
import { add, cat, mul, noGrad, scope, type Tensor, tensor, transpose, zeros } from "@fms-accel/tensor";

import { AdapterConfigError, AdapterError } from "./errors.ts";
import type { LoraConfig } from "./lora-config.ts";
import type { LoraFactors, LoraLayer } from "./lora-layer.ts";
import { truncatedSvd, type Vectors } from "./low-rank-svd.ts";

const COMBINATION_TYPES = ["cat", "linear", "svd"] as const;

/**
 * `cat`: factors side by side, exactly the weighted sum of the products, with the sum of the ranks as its rank. `linear`: sums of A and of B,
 * each with the root of the weight: small, and a rough approximation of the sum. `svd`: as near to the sum as a rank allows, computed in float64.
 */
export type CombinationType = (typeof COMBINATION_TYPES)[number];

export interface WeightedAdapterOptions {
  /** Name of the new adapter. */
  readonly adapterName: string;
  /** Default "cat". */
  readonly combinationType?: CombinationType | undefined;
  /** Rank of the new adapter with "svd". Default: the largest of its parts. */
  readonly svdRank?: number | undefined;
}

/** An adapter that goes into a combination. */
export interface Summand {
  readonly name: string;
  readonly weight: number;
  readonly config: LoraConfig;
}

/**
 * The configuration of a combination.
 * @param paths modules that any of the adapters changes
 * @throws AdapterConfigError for adapters that cannot be combined
 */
export function combinedConfig(
  summands: readonly Summand[],
  combination: CombinationType,
  svdRank: number | undefined,
  paths: readonly string[],
): LoraConfig {
  checkCombination(combination, svdRank);
  const [first] = summands;
  if (first === undefined) {
    throw new AdapterConfigError("a combination needs at least one adapter.");
  }
  for (const { name, weight, config } of summands) {
    if (!Number.isFinite(weight)) {
      throw new AdapterConfigError(`adapter "${name}": expected a finite weight, found ${weight}.`);
    }
    const obstacles = [
      [config.useDora, "use_dora: the lengths of its weights are no sum"],
      [(config.targetParameters ?? []).length > 0, "target_parameters"],
      [(config.modulesToSave ?? []).length > 0, "modules_to_save: whole modules have no weighted sum"],
      [config.bias !== "none", `bias "${config.bias}": biases have no weighted sum`],
    ] as const;
    const found = obstacles.find(([is]) => is);
    if (found !== undefined) {
      throw new AdapterConfigError(`adapter "${name}" cannot be combined with others because of ${found[1]}.`);
    }
  }
  const ranks = summands.map(({ config }) => Math.max(config.r, ...Object.values(config.rankPattern)));
  if (combination === "linear" && new Set(ranks).size > 1) {
    throw new AdapterConfigError(
      `combination "linear" needs adapters of one rank, found ${ranks.join(", ")}. Use "cat", which is exact, or "svd".`,
    );
  }
  const largest = ranks.reduce((most, rank) => Math.max(most, rank));
  const r = combination === "cat" ? ranks.reduce((total, rank) => total + rank, 0) : (svdRank ?? largest);
  return first.config.with({
    r,
    loraAlpha: r, // the weights are in the factors
    useRslora: false,
    targetModules: paths,
    excludeModules: null,
    layersToTransform: null,
    layersPattern: null,
    rankPattern: {},
    alphaPattern: {},
    ensureWeightTying: false,
    initLoraWeights: true,
    inferenceMode: true,
  });
}

/** @throws AdapterConfigError naming what there is */
function checkCombination(combination: CombinationType, svdRank: number | undefined): void {
  if (!COMBINATION_TYPES.includes(combination)) {
    const known = COMBINATION_TYPES.map((name) => `"${name}"`).join(", ");
    throw new AdapterConfigError(`combination type: expected one of ${known}, found ${JSON.stringify(combination)}.`);
  }
  if (svdRank !== undefined && (combination !== "svd" || !Number.isSafeInteger(svdRank) || svdRank < 1)) {
    throw new AdapterConfigError(`svd_rank: expected a whole number from 1 on, with "svd" only, found ${svdRank}.`);
  }
}

/** Fills the factors of a combination in one layer. @throws AdapterError for `linear` where ranks differ in the layer */
export function fillCombination(
  path: string,
  layer: LoraLayer,
  name: string,
  summands: readonly Summand[],
  combination: CombinationType,
): void {
  const parts = summands.flatMap((summand) => {
    const factors = layer.factors(summand.name);
    return factors === undefined
      ? []
      : [{ ...factors, weight: summand.weight * layer.settings(summand.name)!.scaling }];
  });
  const target = layer.factors(name)!;
  noGrad(() =>
    scope(() => {
      const { a, b } = {
        cat: () => sideBySide(parts),
        linear: () => summedUp(path, parts),
        svd: () => approximated(parts, target.a.shape[0]!),
      }[combination]();
      target.a.copyFrom(padded(a, target.a.shape, 0));
      target.b.copyFrom(padded(b, target.b.shape, 1));
    }),
  );
}

type Part = LoraFactors & { readonly weight: number };

function sideBySide(parts: readonly Part[]): LoraFactors {
  return {
    a: cat(
      parts.map(({ a, weight }) => mul(a, weight)),
      0,
    ),
    b: cat(
      parts.map(({ b }) => b),
      1,
    ),
  };
}

function summedUp(path: string, parts: readonly Part[]): LoraFactors {
  const ranks = new Set(parts.map(({ a }) => a.shape[0]));
  if (ranks.size > 1) {
    throw new AdapterError(`${path}: combination "linear" needs adapters of one rank, found ${[...ranks].join(", ")}.`);
  }
  const root = ({ weight }: Part): number => Math.sqrt(Math.abs(weight));
  // The sign goes to one side only: on both it would vanish.
  const a = parts.map((part) => mul(part.a, root(part) * Math.sign(part.weight)));
  const b = parts.map((part) => mul(part.b, root(part)));
  return { a: a.reduce((sum, next) => add(sum, next)), b: b.reduce((sum, next) => add(sum, next)) };
}

function approximated(parts: readonly Part[], rank: number): LoraFactors {
  const { a, b } = sideBySide(parts);
  const best = truncatedSvd(rowsOf(transpose(b, 0, 1)), rowsOf(a), rank);
  const asTensor = (vectors: Vectors): Tensor =>
    tensor(Float32Array.from(vectors.flatMap((vector) => [...vector])), {
      shape: [vectors.length, vectors[0]!.length],
      device: a.device,
    });
  return { a: asTensor(best.a), b: transpose(asTensor(best.b), 0, 1) };
}

function rowsOf(matrix: Tensor): Vectors {
  const [count, width] = matrix.shape as [number, number];
  const values = matrix.toFloat32Array();
  return Array.from({ length: count }, (_, row) => Float64Array.from(values.subarray(row * width, (row + 1) * width)));
}

/** Zeros behind what a layer has less than the whole adapter. */
function padded(x: Tensor, shape: readonly number[], dim: number): Tensor {
  const missing = shape[dim]! - x.shape[dim]!;
  if (missing === 0) {
    return x;
  }
  const rest = shape.map((size, at) => (at === dim ? missing : size));
  return cat([x, zeros(rest, { dtype: x.dtype, device: x.device })], dim);
}
