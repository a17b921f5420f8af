import { cast, cat, cos, type DType, mul, noGrad, sin, tensor, type Tensor, unsqueeze } from "@fms-accel/tensor";

import { attentionScaling, dependsOnLength, rotaryFrequencies } from "./frequencies.ts";
import type { RopeParameters } from "./rope-parameters.ts";

/** Where the tokens of a call stand. */
export interface Positions {
  /** int32 `[B or 1, T]`. */
  readonly ids: Tensor;
  /** The largest position + 1, or a length of the same frequencies; may wait for a GPU. */
  length(): number;
}

/** Cosines and sines of the phases of every position, both `[B or 1, T, 1, D]`: they broadcast over the heads. */
export interface RotaryPhases {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** Phases of rotary position embeddings. It has no weights: the `inv_freq` of old checkpoints is not read. */
export class RotaryEmbedding {
  readonly rope: RopeParameters;
  /** Dimensions of a head that are rotated; even. */
  readonly dim: number;

  constructor(rope: RopeParameters, dim: number) {
    this.rope = rope;
    this.dim = dim;
  }

  /**
   * Phases are float32 whatever the model computes in, and rounded to `dtype` at the end.
   */
  forward(positions: Positions, dtype: DType): RotaryPhases {
    return noGrad(() => {
      const length = dependsOnLength(this.rope) ? positions.length() : 0;
      const frequencies = rotaryFrequencies(this.rope, this.dim, length);
      const angles = mul(
        unsqueeze(cast(positions.ids, "float32"), -1),
        tensor(frequencies, { device: positions.ids.device }),
      );
      const phases = unsqueeze(cat([angles, angles], -1), 2);
      const scaling = attentionScaling(this.rope);
      return {
        cos: cast(mul(cos(phases), scaling), dtype),
        sin: cast(mul(sin(phases), scaling), dtype),
      };
    });
  }
}
