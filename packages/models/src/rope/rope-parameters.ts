/**
 * How a model rotates queries and keys by position, as its configuration says it: `rope_parameters` of transformers 5, or
 * `rope_theta` with `rope_scaling` of transformers 4, brought to one form by `config/rope-fields.ts`.
 */
export type RopeParameters = DefaultRope | LinearRope | DynamicRope | YarnRope | LongRope | Llama3Rope;

export type RopeType = RopeParameters["ropeType"];

interface RopeBase {
  /** Base of the geometric series of wavelengths (RoFormer, https://arxiv.org/abs/2104.09864). */
  readonly ropeTheta: number;
}

export interface DefaultRope extends RopeBase {
  readonly ropeType: "default";
}

/** Position interpolation: positions are divided by `factor` (https://arxiv.org/abs/2306.15595). */
export interface LinearRope extends RopeBase {
  readonly ropeType: "linear";
  readonly factor: number;
}

/** NTK-aware scaling whose base grows with the length of the call beyond `maxPositionEmbeddings`. */
export interface DynamicRope extends RopeBase {
  readonly ropeType: "dynamic";
  readonly factor: number;
  readonly maxPositionEmbeddings: number;
}

/** YaRN (https://arxiv.org/abs/2309.00071): high frequencies kept, low ones interpolated, attention made a little sharper. */
export interface YarnRope extends RopeBase {
  readonly ropeType: "yarn";
  readonly factor: number;
  readonly originalMaxPositionEmbeddings: number;
  readonly betaFast: number;
  readonly betaSlow: number;
  /** Whether the range of interpolated dimensions is widened to whole dimensions. */
  readonly truncate: boolean;
  readonly attentionFactor: number;
}

/** LongRoPE (https://arxiv.org/abs/2402.13753): one searched factor a frequency, one set for short calls and one for long. */
export interface LongRope extends RopeBase {
  readonly ropeType: "longrope";
  readonly shortFactor: readonly number[];
  readonly longFactor: readonly number[];
  readonly originalMaxPositionEmbeddings: number;
  readonly attentionFactor: number;
}

/** Llama 3.1: wavelengths beyond the original context are divided by `factor`, with a smooth step in between. */
export interface Llama3Rope extends RopeBase {
  readonly ropeType: "llama3";
  readonly factor: number;
  readonly lowFreqFactor: number;
  readonly highFreqFactor: number;
  readonly originalMaxPositionEmbeddings: number;
}
