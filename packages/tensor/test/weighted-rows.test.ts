import { describe, expect, test } from "vitest";
import {
  addWeightedRows,
  type AddWeightedRowsOptions,
  composedAddWeightedRows,
  type DType,
  dryRun,
  indexSelect,
  setNumThreads,
  type Tensor,
  tensor,
  TensorError,
  zeros,
} from "../src/index.ts";
import { checkOperation, FLOATING } from "./support/check-gradients.ts";
import { build, type DoubleArray, get, randomArray } from "./support/double-array.ts";
import { randomTensor } from "./support/random-tensor.ts";

type Op = (source: Tensor, weights: Tensor, index: Tensor, options: AddWeightedRowsOptions) => Tensor;

function bits(tensors: readonly (Tensor | undefined)[]): string[] {
  return tensors.map((each) => `${each?.toString()} ${Buffer.from(each?.toBytes() ?? "").toString("base64")}`);
}

const integers = (values: readonly number[]): Tensor => tensor(Int32Array.from(values));

/** Some rows are named several times, some never. */
function scattered(count: number, rows: number): Int32Array {
  return Int32Array.from({ length: count }, (_, j) => ((j * 7919) % 104729) % Math.max(1, rows - 1));
}

interface Case {
  count: number;
  rows: number;
  columns: number[];
}
const CASES: Case[] = [
  { count: 1, rows: 1, columns: [40] },
  { count: 9, rows: 4, columns: [3, 11] },
  { count: 700, rows: 350, columns: [123] },
  { count: 65, rows: 2000, columns: [64] },
  { count: 33, rows: 5, columns: [2500] },
  { count: 0, rows: 3, columns: [5] },
  { count: 4, rows: 2, columns: [0] },
];

function results(op: Op, { count, rows, columns }: Case, dtype: DType, to: DType): Tensor[] {
  const source = randomTensor([count, ...columns], { seed: 1, dtype, requiresGrad: true });
  const weights = randomTensor([count], { seed: 2, requiresGrad: true });
  const result = op(source, weights, tensor(scattered(count, rows)), { rows, dtype: to });
  result.backward(randomTensor([rows, ...columns], { seed: 3, dtype: to }));
  return [result, source.grad as Tensor, weights.grad as Tensor];
}

describe.each(CASES)("$count rows of $columns to $rows", (testCase) => {
  test.each(FLOATING)("%s: the bits of the composed form", (dtype) => {
    expect(bits(results(addWeightedRows, testCase, dtype, dtype))).toEqual(
      bits(results(composedAddWeightedRows, testCase, dtype, dtype)),
    );
  });
});

describe("weighted rows", () => {
  const large = CASES[2] as Case;

  test("agree with float64 in every layout", () => {
    const index = [2, 0, 2, 1, 2];
    const reference = (source: DoubleArray, weights: DoubleArray): DoubleArray =>
      build([4, 6], (row, column) =>
        index.reduce((sum, to, j) => (to === row ? sum + get(source, j, column) * get(weights, j) : sum), 0),
      );
    checkOperation({
      op: (source, weights) => addWeightedRows(source, weights, tensor(index, { dtype: "int64" }), { rows: 4 }),
      reference,
      inputs: [randomArray([5, 6]), randomArray([5], { seed: 2 })],
      dtypes: ["float32"],
    });
  });

  test("from bfloat16 to float32, as mixed precision has them", () => {
    expect(bits(results(addWeightedRows, large, "bfloat16", "float32"))).toEqual(
      bits(results(composedAddWeightedRows, large, "bfloat16", "float32")),
    );
  });

  test("weights of another dtype are multiplied in float32", () => {
    const [source, index] = [randomTensor([3, 40], { dtype: "bfloat16" }), integers([1, 1, 0])];
    const run = (op: Op): string[] => {
      const weights = randomTensor([3], { seed: 2, dtype: "bfloat16", requiresGrad: true });
      const result = op(source, weights, index, { rows: 2 });
      result.backward(randomTensor([2, 40], { seed: 3, dtype: "bfloat16" }));
      return bits([result, weights.grad]);
    };
    expect(run(addWeightedRows)).toEqual(run(composedAddWeightedRows));
  });

  test("the same bits with any number of threads", () => {
    const withThreads = (threads: number): string[] => {
      setNumThreads(threads);
      return bits(results(addWeightedRows, large, "float32", "float32"));
    };
    const expected = withThreads(1);
    const found = [2, 3, 7].map(withThreads);
    setNumThreads(2);
    for (const each of found) expect(each).toEqual(expected);
  });

  test("only gradients that are needed", () => {
    const source = randomTensor([3, 4]);
    const weights = randomTensor([3], { seed: 2, requiresGrad: true });
    addWeightedRows(source, weights, integers([1, 1, 0]), { rows: 2 }).backward(randomTensor([2, 4], { seed: 3 }));
    expect(source.grad).toBeUndefined();
    expect(weights.grad?.shape).toEqual([3]);
  });

  test("the gradient of selected rows is their sum, with the bits of a sum over columns", () => {
    const run = (dim: number): number[] => {
      const x = randomTensor([6, 6], { requiresGrad: true });
      indexSelect(x, dim, integers([5, 0, 5, 2])).backward(randomTensor(dim === 0 ? [4, 6] : [6, 4], { seed: 2 }));
      return (x.grad as Tensor).toArray();
    };
    const g = randomTensor([4, 6], { seed: 2 }).toArray();
    const expected = Array.from({ length: 36 }, (_, at) => {
      const column = at % 6;
      const of = (row: number): number => g[row * 6 + column] as number;
      return [of(1), 0, of(3), 0, 0, Math.fround(of(0) + of(2))][Math.floor(at / 6)];
    });
    expect(run(0)).toEqual(expected);
    expect(run(1).filter((value) => value === 0)).toHaveLength(18);
  });

  test("a dry run has the shapes", async () => {
    await dryRun(() => {
      expect(results(addWeightedRows, large, "float32", "float32").map(({ shape }) => shape)).toEqual([
        [350, 123],
        [700, 123],
        [700],
      ]);
    });
  });

  test("what does not fit is named", () => {
    const [source, weights, index] = [zeros([3, 4]), zeros([3]), integers([0, 1, 0])];
    for (const [wrong, text] of [
      [() => addWeightedRows(source, weights, integers([0, 2, 0]), { rows: 2 }), "index 2 at [1]"],
      [() => addWeightedRows(source, weights, integers([0, -1, 0]), { rows: 2 }), "index -1"],
      [() => addWeightedRows(source, zeros([2]), index, { rows: 2 }), "float32 weights [3]"],
      [() => addWeightedRows(zeros([2, 4]), weights, index, { rows: 2 }), "each row of [2, 4]"],
      [() => addWeightedRows(zeros([3, 4], { dtype: "int32" }), weights, index, { rows: 2 }), "int32"],
      [() => addWeightedRows(source, weights, index, { rows: 2, dtype: "int64" }), "int64"],
      [() => addWeightedRows(zeros([]), weights, index, { rows: 2 }), "scalar"],
    ] as const) {
      expect(wrong).toThrow(TensorError);
      expect(wrong).toThrow(text);
    }
  });
});
