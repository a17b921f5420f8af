import { tensor, type Tensor, zeros } from "@fms-accel/tensor";
import { describe, expect, it } from "vitest";

import { ModelInputError } from "../../src/errors.ts";
import { packedSequenceIds, sequenceLayout } from "../../src/layers/sequence-layout.ts";
import type { CausalLMInputs } from "../../src/modeling/causal-lm.ts";

const int32 = (rows: number[][]): Tensor => tensor(rows, { dtype: "int32" });
const inputIds = int32([
  [1, 2, 3, 4],
  [5, 6, 7, 8],
]);
const cacheOf = (length: number) => ({
  length,
  update: (_: number, keys: Tensor, values: Tensor) => ({ keys, values }),
});

const keyMask = (rows: number[][]): Tensor | undefined =>
  sequenceLayout({ inputIds, attentionMask: int32(rows) }).context.keyMask;

describe("sequenceLayout", () => {
  it("counts positions from the cache's length on", () => {
    expect(sequenceLayout({ inputIds }).positions.ids.toArray()).toEqual([0, 1, 2, 3]);
    expect(sequenceLayout({ inputIds, cache: cacheOf(5) }).positions.ids.toArray()).toEqual([5, 6, 7, 8]);
  });

  it("needs a mask for padding on the left only", () => {
    expect(
      keyMask([
        [1, 1, 1, 1],
        [1, 1, 1, 1],
      ]),
    ).toBeUndefined();
    expect(
      keyMask([
        [1, 1, 0, 0],
        [1, 1, 1, 0],
      ]),
    ).toBeUndefined();
    expect(
      keyMask([
        [0, 1, 1, 1],
        [1, 1, 1, 1],
      ]),
    ).toBeDefined();
    expect(
      keyMask([
        [1, 1, 1, 1],
        [1, 0, 1, 0],
      ]),
    ).toBeDefined();
  });

  it("finds packed sequences by their positions, unless a mask, a cache or sequenceIds say what belongs together", () => {
    const positionIds = int32([
      [0, 1, 0, 1],
      [0, 1, 2, 3],
    ]);
    expect(sequenceLayout({ inputIds, positionIds }).context.querySegments!.toArray()).toEqual([
      0, 0, 1, 1, 0, 0, 0, 0,
    ]);
    const attentionMask = int32([
      [1, 1, 1, 1],
      [1, 1, 1, 1],
    ]);
    expect(sequenceLayout({ inputIds, positionIds, attentionMask }).context.querySegments).toBeUndefined();
    expect(sequenceLayout({ inputIds, positionIds, cache: cacheOf(0) }).context.querySegments).toBeUndefined();
    const sequenceIds = int32([
      [4, 4, 4, 9],
      [0, 0, 0, 0],
    ]);
    expect(sequenceLayout({ inputIds, positionIds, sequenceIds }).context.querySegments).toBe(sequenceIds);
    expect(
      sequenceLayout({
        inputIds,
        positionIds: int32([
          [3, 4, 5, 6],
          [0, 1, 2, 3],
        ]),
      }).context.querySegments,
    ).toBeUndefined();
  });

  describe("for an attention function", () => {
    const attention = () => undefined;
    const bounds = (inputs: Omit<CausalLMInputs, "inputIds" | "attention">): number[] | undefined =>
      sequenceLayout({ inputIds, attention, ...inputs }).context.cuSeqlens?.toArray();

    it("says where sequences begin and end when rows lie one behind the other", () => {
      expect(bounds({})).toEqual([0, 4, 8]);
      expect(bounds({ positionIds: int32([[0, 1, 0, 0]]) })).toEqual([0, 2, 3, 4, 6, 7, 8]);
      const sequenceIds = int32([
        [4, 4, 4, 9],
        [9, 9, 0, 0],
      ]);
      expect(bounds({ sequenceIds })).toEqual([0, 3, 4, 6, 8]);
      const padding = int32([
        [1, 1, 0, 0],
        [1, 1, 1, 0],
      ]);
      expect(bounds({ attentionMask: padding })).toEqual([0, 4, 8]);
      const none = sequenceLayout({ inputIds: zeros([1, 0], { dtype: "int32" }), attention });
      expect(none.context.cuSeqlens!.toArray()).toEqual([0]);
    });

    it("says nothing where that is not all: hidden padding, a cache, sequences that are torn apart", () => {
      const leftPadding = int32([
        [0, 1, 1, 1],
        [1, 1, 1, 1],
      ]);
      expect(bounds({ attentionMask: leftPadding })).toBeUndefined();
      expect(bounds({ cache: cacheOf(0) })).toBeUndefined();
      const torn = int32([
        [0, 1, 0, 0],
        [0, 0, 0, 0],
      ]);
      expect(bounds({ sequenceIds: torn })).toBeUndefined();
      expect(sequenceLayout({ inputIds }).context.cuSeqlens).toBeUndefined();
    });
  });

  it("repeats one row of positions for all rows", () => {
    expect(packedSequenceIds(int32([[0, 0, 1, 0]]), 2)!.toArray()).toEqual([0, 1, 1, 2, 0, 1, 1, 2]);
  });

  it("refuses shapes that do not fit", () => {
    const wrong = [
      {
        inputIds,
        attentionMask: int32([
          [1, 1, 1, 1],
          [1, 1, 1, 1],
        ]),
        cache: cacheOf(2),
      },
      { inputIds, positionIds: int32([[0, 1, 2]]) },
      { inputIds, sequenceIds: int32([[0, 0, 0, 0]]) },
      {
        inputIds,
        sequenceIds: int32([
          [0, 0, 0, 0],
          [0, 0, 0, 0],
        ]),
        cache: cacheOf(2),
      },
    ];
    for (const inputs of wrong) {
      expect(() => sequenceLayout(inputs)).toThrow(ModelInputError);
    }
    expect(() => sequenceLayout(wrong[0]!)).toThrow("attentionMask: expected shape [2, 6], found [2, 4].");
  });
});
