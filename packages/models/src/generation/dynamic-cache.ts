import { copyIntoSlice, empty, itemSize, keep, noGrad, scope, slice, type Tensor } from "@fms-accel/tensor";

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
 * Buffers are allocated once with room to spare, written in place token by token, and grow by doubling. A layer with a sliding window
 * forgets what no later token sees: its buffer never has room for more than about twice the window. A forward pass calls `update` once a
 * layer, in any order of layers. Nothing is recorded on the tape. The caller of the forward pass owns the cache and disposes it.
 */
export class DynamicCache implements KeyValueCache, Disposable {
  readonly #capacity: number | undefined;
  readonly #layers = new Map<number, LayerBuffers>();
  /** Of the first layer that was updated, forgotten tokens included. */
  #seen = 0;
  #firstLayer: number | undefined = undefined;

  constructor(options: DynamicCacheOptions = {}) {
    this.#capacity = options.capacity;
  }

  /** Tokens of each sequence that were seen (padding included), as of the first layer: read it before the first `update` of a pass. */
  get length(): number {
    return this.#seen;
  }

  /** Bytes of all buffers. */
  get bytes(): number {
    let bytes = 0;
    for (const { keys, values } of this.#layers.values()) {
      bytes += (keys.numel + values.numel) * itemSize(keys.dtype);
    }
    return bytes;
  }

  /**
   * Appends the keys and values of new tokens.
   *
   * @param keys `[B, Hkv, T, D]`, rotated
   * @param values `[B, Hkv, T, D]`; D may differ from that of the keys
   * @param window tokens that a token of this layer sees, itself included; undefined: all
   * @returns keys and values that the new tokens may see, the new ones last: views of the buffers, valid until the next update of this
   *   layer
   * @throws GenerationError when the batch, heads or dimension differ from what the layer holds
   */
  update(layer: number, keys: Tensor, values: Tensor, window?: number): { keys: Tensor; values: Tensor } {
    return noGrad(() => {
      const present = this.#layers.get(layer);
      checkFits(layer, present ?? { keys, values }, keys, values);
      this.#firstLayer ??= layer;
      if (layer === this.#firstLayer) {
        this.#seen += keys.shape[2] ?? 0;
      }
      if (present === undefined) {
        this.#layers.set(layer, this.#begin(keys, values, window));
        // Nothing came before: what was passed in is already all, and contiguous.
        return { keys, values };
      }
      return append(present, keys, values, window);
    });
  }

  /** Frees the buffers; the cache is empty afterwards and may be used again. */
  dispose(): void {
    for (const buffers of this.#layers.values()) {
      buffers.keys.dispose();
      buffers.values.dispose();
    }
    this.#layers.clear();
    this.#seen = 0;
    this.#firstLayer = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Buffers with what later tokens will see of the first ones. */
  #begin(keys: Tensor, values: Tensor, window: number | undefined): LayerBuffers {
    const count = keys.shape[2] ?? 0;
    const length = remembered(count, window);
    const wanted = Math.max(this.#capacity ?? 0, count);
    const capacity = window === undefined ? wanted : Math.min(wanted, roomFor(length, window));
    const buffers = { keys: buffer(keys, capacity), values: buffer(values, capacity), length };
    scope(() => {
      copyIntoSlice(buffers.keys, 2, 0, slice(keys, 2, count - length, count));
      copyIntoSlice(buffers.values, 2, 0, slice(values, 2, count - length, count));
    });
    return buffers;
  }
}

/** Of `length` tokens, how many the next token sees through a window that it stands in itself. */
function remembered(length: number, window: number | undefined): number {
  return window === undefined ? length : Math.min(length, window - 1);
}

/** The capacity of a windowed buffer that holds `length` tokens: it moves its tokens once in as many steps as the window is wide. */
function roomFor(length: number, window: number): number {
  return length + Math.max(window, SMALLEST_GROWTH);
}

function append(
  buffers: LayerBuffers,
  keys: Tensor,
  values: Tensor,
  window: number | undefined,
): { keys: Tensor; values: Tensor } {
  const added = keys.shape[2] ?? 0;
  const capacity = buffers.keys.shape[2] ?? 0;
  if (buffers.length + added > capacity) {
    const kept = remembered(buffers.length, window);
    const needed = kept + added;
    const room =
      window === undefined ? Math.max(needed, capacity * 2, capacity + SMALLEST_GROWTH) : roomFor(needed, window);
    moveTo(buffers, kept, room);
  }
  const start = buffers.length;
  const end = start + added;
  copyIntoSlice(buffers.keys, 2, start, keys);
  copyIntoSlice(buffers.values, 2, start, values);
  buffers.length = end;
  // Of a window's buffer, more than the new tokens see may still be there; attention would only mask it.
  const first = window === undefined ? 0 : Math.max(0, start - (window - 1));
  return { keys: slice(buffers.keys, 2, first, end), values: slice(buffers.values, 2, first, end) };
}

/** New buffers with the last `kept` tokens. */
function moveTo(buffers: LayerBuffers, kept: number, capacity: number): void {
  for (const which of ["keys", "values"] as const) {
    const old = buffers[which];
    const moved = buffer(old, capacity);
    scope(() => copyIntoSlice(moved, 2, 0, slice(old, 2, buffers.length - kept, buffers.length)));
    buffers[which] = moved;
    old.dispose();
  }
  buffers.length = kept;
}

/** A buffer like `tokens`, with room for `capacity` of them; it lives until the cache disposes it. */
function buffer(tokens: Tensor, capacity: number): Tensor {
  const [batch = 0, heads = 0, , dimension = 0] = tokens.shape;
  const { dtype, device } = tokens;
  return keep(empty([batch, heads, capacity, dimension], { dtype, device }));
}

function checkFits(layer: number, buffers: Pick<LayerBuffers, "keys" | "values">, keys: Tensor, values: Tensor): void {
  for (const [name, found, held] of [
    ["keys", keys, buffers.keys],
    ["values", values, buffers.values],
  ] as const) {
    const [batch, heads, , dimension] = held.shape;
    const [foundBatch, foundHeads, tokens, foundDimension] = found.shape;
    const fits = batch === foundBatch && heads === foundHeads && dimension === foundDimension;
    if (found.ndim !== 4 || !fits || tokens !== keys.shape[2]) {
      throw new GenerationError(
        `layer ${layer} of the cache holds ${name} of shape [${batch}, ${heads}, tokens, ${dimension}], ` +
          `but was given [${found.shape.join(", ")}]: one cache serves one batch of one model.`,
      );
    }
  }
}
