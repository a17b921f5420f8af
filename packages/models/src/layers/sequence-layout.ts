import { arange, type Tensor, tensor, to, unsqueeze } from "@fms-accel/tensor";

import { ModelInputError } from "../errors.ts";
import type { CausalLMInputs } from "../modeling/causal-lm.ts";
import type { AttentionContext } from "../modeling/attention-context.ts";
import type { Positions } from "../rope/rotary-embedding.ts";

/** Where tokens stand and who sees whom, worked out once a forward call and the same for all layers. */
export interface SequenceLayout {
  readonly positions: Positions;
  /**
   * `keyMask` `[B, S]` is absent where causality hides all padding; segments int32 `[B, T]`, equal for tokens of one sequence, are absent
   * where every row is one sequence.
   */
  readonly context: AttentionContext;
}

/** Derives positions, padding and sequence borders from the inputs of a forward call, and checks their shapes. */
export function sequenceLayout(inputs: CausalLMInputs): SequenceLayout {
  const { inputIds, attentionMask, positionIds, sequenceIds, labels, cache, attention, facts } = inputs;
  const [batch, length] = checkShape("inputIds", inputIds, [undefined, undefined]) as [number, number];
  const past = cache?.length ?? 0;
  if (attentionMask !== undefined) {
    checkShape("attentionMask", attentionMask, [batch, past + length]);
  }
  if (positionIds !== undefined) {
    checkShape("positionIds", positionIds, [positionIds.shape[0] === 1 ? 1 : batch, length]);
  }
  if (labels !== undefined) {
    checkShape("labels", labels, [batch, length]);
  }
  if (sequenceIds !== undefined) {
    checkShape("sequenceIds", sequenceIds, [batch, length]);
    if (past > 0) {
      throw new ModelInputError("sequenceIds cannot be combined with a cache that already holds tokens.");
    }
  }
  const looksPacked =
    sequenceIds === undefined && positionIds !== undefined && attentionMask === undefined && cache === undefined;
  const { device } = inputIds;
  const ids = !looksPacked
    ? sequenceIds
    : facts?.sequenceIds.has(positionIds)
      ? facts.sequenceIds.get(positionIds)
      : packedSequenceIds(positionIds, batch);
  const segments = ids && to(ids, device);
  const hides = attentionMask !== undefined && (facts?.hidesKeys.get(attentionMask) ?? readsAsHiding(attentionMask));
  const keyMask = hides ? to(attentionMask, device) : undefined;
  const isPlain = attention !== undefined && cache === undefined && keyMask === undefined;
  return {
    positions:
      positionIds === undefined
        ? {
            ids: unsqueeze(arange(past, past + length, 1, { dtype: "int32", device }), 0),
            length: () => past + length,
          }
        : {
            ids: to(positionIds, device),
            length: () => facts?.lengths.get(positionIds) ?? longestIn(positionIds),
          },
    context: {
      keyMask,
      querySegments: segments,
      keySegments: segments,
      cache,
      cuSeqlens: isPlain ? boundsOf(sequenceIds ?? positionIds, ids, inputs) : undefined,
      attention,
    },
  };
}

/**
 * Numbers the sequences of packed rows: a new one starts where a position is not the one before plus one.
 * @param positionIds int32 `[B or 1, T]`
 * @returns int32 `[B, T]`, or undefined where every row is a single sequence
 */
export function packedSequenceIds(positionIds: Tensor, batch: number = positionIds.shape[0]!): Tensor | undefined {
  const [rows, length] = positionIds.shape as [number, number];
  const ids = numberSequences(positionIds.toInt32Array(), [rows, length], batch);
  return ids && tensor(ids, { shape: [batch, length], device: positionIds.device });
}

/** The same on the host. @param positions `[B or 1, T]` in row-major order */
export function numberSequences(
  positions: Int32Array,
  [rows, length]: readonly [number, number],
  batch: number = rows,
): Int32Array | undefined {
  const ids = new Int32Array(batch * length);
  let packed = false;
  for (let row = 0; row < batch; row++) {
    const start = (row % rows) * length;
    let sequence = 0;
    for (let t = 1; t < length; t++) {
      if (positions[start + t] !== positions[start + t - 1]! + 1) {
        sequence++;
        packed = true;
      }
      ids[row * length + t] = sequence;
    }
  }
  return packed ? ids : undefined;
}

/** `cumulativeLengths` on the device of the tokens, read from `ids` unless the facts about `key` say it. */
function boundsOf(
  key: Tensor | undefined,
  ids: Tensor | undefined,
  { inputIds, facts }: CausalLMInputs,
): Tensor | undefined {
  if (key !== undefined && facts?.cuSeqlens.has(key) === true) return facts.cuSeqlens.get(key);
  const bounds = cumulativeLengths(ids?.toInt32Array(), inputIds.shape as [number, number]);
  return bounds && tensor(bounds, { dtype: "int32", device: inputIds.device });
}

/**
 * Where the sequences begin and end when rows lie one behind the other.
 * @param ids `[rows, length]` in row-major order: the sequence of each token; absent: each row is one
 * @returns `[sequences + 1]`, or undefined where the tokens of a sequence do not lie together
 */
export function cumulativeLengths(
  ids: Int32Array | undefined,
  [rows, length]: readonly [number, number],
): Int32Array | undefined {
  const bounds = [0];
  for (let row = 0; row < rows; row++) {
    const seen = new Set<number>();
    for (let at = row * length; at < (row + 1) * length; at++) {
      const id = ids === undefined ? 0 : ids[at]!;
      if (at > row * length && (ids === undefined || id === ids[at - 1])) continue;
      if (seen.has(id)) return undefined;
      seen.add(id);
      if (at > 0) bounds.push(at);
    }
  }
  if (rows * length > 0) bounds.push(rows * length);
  return Int32Array.from(bounds);
}

function longestIn(positionIds: Tensor): number {
  return positionIds.toInt32Array().reduce((largest, position) => Math.max(largest, position), -1) + 1;
}

function readsAsHiding(attentionMask: Tensor): boolean {
  return hidesKeys(attentionMask.toInt32Array(), attentionMask.shape as [number, number]);
}

/**
 * Whether a mask hides anything that comes before a token: padding on the right is never seen by causal attention.
 * @param mask `[B, S]` in row-major order
 */
export function hidesKeys(mask: Int32Array, [batch, length]: readonly [number, number]): boolean {
  for (let row = 0; row < batch; row++) {
    let padded = false;
    for (let at = row * length; at < (row + 1) * length; at++) {
      if (mask[at] === 0) {
        padded = true;
      } else if (padded) {
        return true;
      }
    }
  }
  return false;
}

function checkShape(name: string, input: Tensor, expected: readonly (number | undefined)[]): readonly number[] {
  const fits =
    input.ndim === expected.length && expected.every((size, dim) => size === undefined || size === input.shape[dim]);
  if (!fits) {
    const shape = expected.map((size, dim) => size ?? ["batch", "sequence"][dim]).join(", ");
    throw new ModelInputError(`${name}: expected shape [${shape}], found [${input.shape.join(", ")}].`);
  }
  return input.shape;
}
