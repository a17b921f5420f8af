import { empty, keep, noGrad, scope, slice, type Tensor } from "@fms-accel/tensor";

import type { KeyValueCache } from "../modeling/key-value-cache.ts";
import { GenerationError } from "./errors.ts";

/** Tokens by which a full buffer grows at least. */
const SMALLEST_GROWTH = 64;

export interface DynamicCacheOptions {
  /** Tokens that buffers have room for from the start; they grow beyond it. Default: as many as the first update brings. */
  readonly capacity?: number | undefined;
}

interface LayerBuffers {
  /** `[B, Hkv, capacity, D]`; tokens beyond `length` are undefined. */
  keys: Tensor;
  values: Tensor;
  length: number;
}

/**
 * Keys and values of the tokens that a model has already seen, a buffer a layer.
 *
 * Buffers are allocated once with room to spare, written in place token by token, and grow by doubling. A forward pass
 * calls `update` once a layer, in any order of layers. Nothing is recorded on the tape. The caller of the forward pass owns the cache and
 * disposes it.
 */
export class DynamicCache implements KeyValueCache, Disposable {
  readonly #capacity: number | undefined;
  readonly #layers = new Map<number, LayerBuffers>();

  constructor(options: DynamicCacheOptions = {}) {
    this.#capacity = options.capacity;
  }

  /** Tokens of each sequence in the cache (padding included), as of the first layer: read it before the first `update` of a pass. */
  get length(): number {
    const first = this.#layers.values().next();
    return first.done === true ? 0 : first.value.length;
  }

  /**
   * Appends the keys and values of new tokens.
   *
   * @param keys `[B, Hkv, T, D]`, rotated
   * @param values `[B, Hkv, T, D]`; D may differ from that of the keys
   * @returns all keys and values so far, the new ones last: views of the buffers, valid until the next update of this layer
   * @throws GenerationError when the batch, heads or dimension differ from what the layer holds
   */
  update(layer: number, keys: Tensor, values: Tensor): { keys: Tensor; values: Tensor } {
    return noGrad(() => {
      const buffers = this.#layers.get(layer) ?? this.#allocate(layer, keys, values);
      checkFits(layer, buffers, keys, values);
      const start = buffers.length;
      const end = start + (keys.shape[2] ?? 0);
      if (end > (buffers.keys.shape[2] ?? 0)) {
        grow(buffers, end);
      }
      scope(() => {
        slice(buffers.keys, 2, start, end).copyFrom(keys);
        slice(buffers.values, 2, start, end).copyFrom(values);
      });
      buffers.length = end;
      // Nothing came before: what was passed in is already all, and contiguous.
      return start === 0
        ? { keys, values }
        : { keys: slice(buffers.keys, 2, 0, end), values: slice(buffers.values, 2, 0, end) };
    });
  }

  /** Frees the buffers; the cache is empty afterwards and may be used again. */
  dispose(): void {
    for (const buffers of this.#layers.values()) {
      buffers.keys.dispose();
      buffers.values.dispose();
    }
    this.#layers.clear();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #allocate(layer: number, keys: Tensor, values: Tensor): LayerBuffers {
    const capacity = Math.max(this.#capacity ?? 0, keys.shape[2] ?? 0);
    const buffers = { keys: buffer(keys, capacity), values: buffer(values, capacity), length: 0 };
    this.#layers.set(layer, buffers);
    return buffers;
  }
}

function grow(buffers: LayerBuffers, needed: number): void {
  const current = buffers.keys.shape[2] ?? 0;
  const capacity = Math.max(needed, current * 2, current + SMALLEST_GROWTH);
  for (const which of ["keys", "values"] as const) {
    const old = buffers[which];
    const grown = buffer(old, capacity);
    scope(() => slice(grown, 2, 0, buffers.length).copyFrom(slice(old, 2, 0, buffers.length)));
    buffers[which] = grown;
    old.dispose();
  }
}

/** A buffer like `tokens`, with room for `capacity` of them; it lives until the cache disposes it. */
function buffer(tokens: Tensor, capacity: number): Tensor {
  const [batch = 0, heads = 0, , dimension = 0] = tokens.shape;
  const { dtype, device } = tokens;
  return keep(empty([batch, heads, capacity, dimension], { dtype, device }));
}

function checkFits(layer: number, buffers: LayerBuffers, keys: Tensor, values: Tensor): void {
  for (const [name, found, held] of [
    ["keys", keys, buffers.keys],
    ["values", values, buffers.values],
  ] as const) {
    const same =
      found.ndim === 4 && [0, 1, 3].every((d) => found.shape[d] === held.shape[d]) && found.shape[2] === keys.shape[2];
    if (!same) {
      const [batch, heads, , dimension] = held.shape;
      throw new GenerationError(
        `layer ${layer} of the cache holds ${name} of shape [${batch}, ${heads}, tokens, ${dimension}], ` +
          `but was given [${found.shape.join(", ")}]: one cache serves one batch of one model.`,
      );
    }
  }
}
