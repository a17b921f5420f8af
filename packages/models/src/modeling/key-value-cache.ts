import type { Tensor } from "@fms-accel/tensor";

/**
 * Keys and values of the positions that earlier forward calls have seen. A model's attention asks it for the whole past,
 * the new positions included; how they are stored is the cache's business.
 */
export interface KeyValueCache {
  /**
   * Positions that were seen before the running forward call. A model reads it once, before the first `update` of a call;
   * after the last layer's `update` it counts the new positions too.
   */
  readonly length: number;
  /**
   * Adds the keys and values of new positions to a layer.
   * @param keys `[B, Hkv, T, D]`, rotated
   * @param values `[B, Hkv, T, D]`
   * @param window positions that a position of this layer sees, itself included; undefined: all before it. It must not change.
   * @returns what the new queries may look at, `[B, Hkv, S, D]`, the new positions last; S may be less than all positions
   *   where a sliding window hides the older ones
   */
  update(layer: number, keys: Tensor, values: Tensor, window?: number): { keys: Tensor; values: Tensor };
}
