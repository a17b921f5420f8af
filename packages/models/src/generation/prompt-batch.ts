import { type Device, tensor, type Tensor } from "@fms-accel/tensor";

import { GenerationError } from "./errors.ts";

/** Prompts: lists of token ids of any lengths, or an int32 tensor `[B, T]` that is padded on the left. */
export interface GenerationInputs {
  readonly inputIds: Tensor | readonly (readonly number[])[];
  /** int32 `[B, T]`, 0 on padding; for a tensor of ids only. Absent: no padding. */
  readonly attentionMask?: Tensor | undefined;
}

/** The tokens of a batch under way: prompts, then what was chosen. Padding stands on the left only. */
export class PromptBatch {
  readonly size: number;
  /** Width of the padded prompts. */
  readonly promptLength: number;
  readonly device: Device;
  readonly #hasPadding: boolean;
  /** Tokens of each row without padding. */
  readonly tokens: number[][];
  readonly #padTokenId: number;

  /** @param device where tensors go when the prompts are lists */
  constructor(inputs: GenerationInputs, padTokenId: number, device: Device) {
    const isTensor = !Array.isArray(inputs.inputIds);
    this.device = isTensor ? (inputs.inputIds as Tensor).device : device;
    this.tokens = isTensor
      ? rowsOfTensor(inputs.inputIds as Tensor, inputs.attentionMask)
      : rowsOfLists(inputs.inputIds as readonly (readonly number[])[], inputs.attentionMask);
    this.size = this.tokens.length;
    this.promptLength = isTensor
      ? ((inputs.inputIds as Tensor).shape[1] ?? 0)
      : Math.max(...this.tokens.map((row) => row.length));
    this.#hasPadding = this.tokens.some((row) => row.length < this.promptLength);
    this.#padTokenId = padTokenId;
  }

  /** Adds one token a row. */
  append(chosen: readonly number[]): void {
    this.tokens.forEach((row, index) => row.push(chosen[index] ?? this.#padTokenId));
  }

  /**
   * The inputs of a forward pass over the last `count` tokens of each row. Without padding there is no mask, and positions are
   * left to the model.
   */
  forwardInputs(count: number): {
    inputIds: Tensor;
    attentionMask: Tensor | undefined;
    positionIds: Tensor | undefined;
  } {
    const width = Math.max(...this.tokens.map((row) => row.length));
    const ids = this.#matrix(count, (row, at) => row[at] ?? this.#padTokenId);
    if (!this.#hasPadding) {
      return { inputIds: ids, attentionMask: undefined, positionIds: undefined };
    }
    return {
      inputIds: ids,
      attentionMask: this.#matrix(width, (_, at) => (at < 0 ? 0 : 1)),
      positionIds: this.#matrix(count, (_, at) => Math.max(at, 0)),
    };
  }

  /** int32 `[B, count]` of the last `count` columns; `value` is given a row's tokens and the index in them, negative on padding. */
  #matrix(count: number, value: (row: readonly number[], at: number) => number): Tensor {
    const data = new Int32Array(this.size * count);
    this.tokens.forEach((row, index) => {
      for (let column = 0; column < count; column++) {
        data[index * count + column] = value(row, row.length - count + column);
      }
    });
    return tensor(data, { shape: [this.size, count], device: this.device });
  }
}

function rowsOfLists(lists: readonly (readonly number[])[], mask: Tensor | undefined): number[][] {
  if (mask !== undefined) {
    throw new GenerationError("attentionMask: lists of token ids need none; they are padded here.");
  }
  if (lists.length === 0) {
    throw new GenerationError("inputIds: there is no prompt.");
  }
  lists.forEach((list, row) => {
    if (list.length === 0) {
      throw new GenerationError(
        `inputIds: prompt ${row} is empty. Begin it with the tokenizer's beginning-of-sequence token.`,
      );
    }
  });
  return lists.map((list) => [...list]);
}

function rowsOfTensor(ids: Tensor, mask: Tensor | undefined): number[][] {
  const [batch = 0, width = 0] = ids.shape;
  if (ids.ndim !== 2 || batch === 0 || width === 0) {
    throw new GenerationError(
      `inputIds must have the shape [batch, tokens] with at least one of each, found [${ids.shape.join(", ")}].`,
    );
  }
  if (mask !== undefined && (mask.ndim !== 2 || mask.shape[0] !== batch || mask.shape[1] !== width)) {
    throw new GenerationError(
      `attentionMask must have the shape of inputIds, [${ids.shape.join(", ")}], found [${mask.shape.join(", ")}].`,
    );
  }
  const values = ids.toInt32Array();
  const real = mask?.toInt32Array();
  return Array.from({ length: batch }, (_, row) => {
    const from = row * width;
    const first = real === undefined ? 0 : firstReal(real.subarray(from, from + width), row);
    return [...values.subarray(from + first, from + width)];
  });
}

function firstReal(mask: Int32Array, row: number): number {
  const first = mask.findIndex((value) => value !== 0);
  if (first < 0) {
    throw new GenerationError(`attentionMask: row ${row} has no token.`);
  }
  if (mask.subarray(first).includes(0)) {
    throw new GenerationError(
      `attentionMask: row ${row} has padding behind its first token. Pad prompts on the left: new tokens go on from the right end.`,
    );
  }
  return first;
}
