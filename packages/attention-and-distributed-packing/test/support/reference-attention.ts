/** Variable-length attention by its definition, in double: what the kernels are measured against. */

export interface AttentionCase {
  readonly lengths: readonly number[];
  readonly heads: number;
  readonly kvHeads: number;
  readonly dim: number;
  readonly isCausal: boolean;
  readonly window?: number;
  readonly softCap?: number;
  readonly scale?: number;
}

export interface AttentionOperandValues {
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
  readonly outGradient: Float32Array;
}

export interface AttentionResultValues {
  readonly out: Float64Array;
  readonly q: Float64Array;
  readonly k: Float64Array;
  readonly v: Float64Array;
}

/** The result and the gradients of q, k and v, all [tokens, heads, dim] in row-major order. */
export function referenceAttention(c: AttentionCase, values: AttentionOperandValues): AttentionResultValues {
  const result = {
    out: new Float64Array(values.q.length),
    q: new Float64Array(values.q.length),
    k: new Float64Array(values.k.length),
    v: new Float64Array(values.v.length),
  };
  let first = 0;
  for (const length of c.lengths) {
    for (let head = 0; head < c.heads; head++) {
      for (let i = first; i < first + length; i++) attendOne(c, values, result, head, i, first, first + length);
    }
    first += length;
  }
  return result;
}

function attendOne(
  c: AttentionCase,
  { q, k, v, outGradient }: AttentionOperandValues,
  result: AttentionResultValues,
  head: number,
  token: number,
  first: number,
  end: number,
): void {
  const { dim, softCap, scale = dim ** -0.5 } = c;
  const row = (token * c.heads + head) * dim;
  const keyRow = (key: number): number => (key * c.kvHeads + Math.floor(head / (c.heads / c.kvHeads))) * dim;
  const keys: number[] = [];
  for (let key = first; key < end; key++) {
    const isNear = c.window === undefined || Math.abs(key - token) < c.window;
    if (isNear && (!c.isCausal || key <= token)) keys.push(keyRow(key));
  }
  const tangents = keys.map((key) =>
    softCap === undefined ? 0 : Math.tanh((scale * dot(q, row, k, key, dim)) / softCap),
  );
  const scores = keys.map((key, n) =>
    softCap === undefined ? scale * dot(q, row, k, key, dim) : softCap * tangents[n]!,
  );
  const peak = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - peak));
  const total = powers.reduce((sum, power) => sum + power, 0);
  const weights = powers.map((power) => power / total);
  keys.forEach((key, n) => add(result.out, row, v, key, weights[n]!, dim));
  let delta = 0;
  for (let d = 0; d < dim; d++) delta += result.out[row + d]! * outGradient[row + d]!;
  keys.forEach((key, n) => {
    const slope = weights[n]! * (dot(outGradient, row, v, key, dim) - delta) * scale * (1 - tangents[n]! ** 2);
    add(result.q, row, k, key, slope, dim);
    add(result.k, key, q, row, slope, dim);
    add(result.v, key, outGradient, row, weights[n]!, dim);
  });
}

function dot(a: Float32Array, aStart: number, b: Float32Array, bStart: number, count: number): number {
  let sum = 0;
  for (let d = 0; d < count; d++) sum += a[aStart + d]! * b[bStart + d]!;
  return sum;
}

function add(
  to: Float64Array,
  toStart: number,
  from: Float32Array,
  fromStart: number,
  factor: number,
  count: number,
): void {
  for (let d = 0; d < count; d++) to[toStart + d]! += factor * from[fromStart + d]!;
}
