import { describe, expect, test } from "vitest";
import {
  autocast,
  cat,
  type DType,
  dryRun,
  groupedLinear,
  groupRows,
  linear,
  noGrad,
  select,
  setNumThreads,
  slice,
  split,
  stack,
  type Tensor,
  tensor,
  TensorError,
  transpose,
  workStats,
  zeros,
} from "../src/index.ts";
import { checkOperation } from "./support/check-gradients.ts";
import { build, type DoubleArray, get, randomArray } from "./support/double-array.ts";
import { randomTensor } from "./support/random-tensor.ts";

const FLOATING: readonly DType[] = ["float32", "bfloat16", "float16"];

interface Case {
  counts: number[];
  in: number;
  out: number;
}
const CASES: Case[] = [
  { counts: [3], in: 5, out: 4 },
  { counts: [0, 7, 0, 1, 19, 0], in: 33, out: 17 },
  { counts: [2, 1, 1, 3], in: 1, out: 1 },
  { counts: [0, 0], in: 6, out: 3 },
  { counts: [700, 3, 250, 0, 520, 16], in: 70, out: 96 },
  { counts: [40, 9, 61], in: 2100, out: 24 },
  { counts: Array.from({ length: 140 }, (_, group) => (group * 7) % 5), in: 9, out: 6 },
];
const totalOf = (counts: readonly number[]): number => counts.reduce((sum, count) => sum + count, 0);

/** The group of each row. */
const groupOf = (counts: readonly number[]): number[] =>
  counts.flatMap((count, group) => Array.from({ length: count }, () => group));

/** `linear` of each group, joined. */
function composed(x: Tensor, weights: readonly Tensor[], counts: readonly number[]): Tensor {
  return cat(
    split(x, counts, 0).map((rows, group) => linear(rows, weights[group] as Tensor)),
    0,
  );
}

type Form = "composed" | "list" | "stack" | "dealt";

function results({ counts, in: k, out }: Case, dtype: DType, form: Form, weightDtype: DType = dtype): Tensor[] {
  const x = randomTensor([totalOf(counts), k], { seed: 1, dtype, requiresGrad: true });
  const weights = counts.map((_, group) => randomTensor([out, k], { seed: 2 + group, dtype: weightDtype }));
  const g = randomTensor([totalOf(counts), out], { seed: 99, dtype });
  const stacked = noGrad(() => stack(weights, 0));
  stacked.requiresGrad = form === "stack";
  for (const weight of weights) weight.requiresGrad = form !== "stack";
  const sizes = form === "dealt" ? groupRows(tensor(groupOf(counts), { dtype: "int64" }), counts.length) : counts;
  const y =
    form === "composed" ? composed(x, weights, counts) : groupedLinear(x, form === "stack" ? stacked : weights, sizes);
  y.backward(g);
  const gradients =
    form === "stack"
      ? [stacked.grad as Tensor]
      : [
          stack(
            weights.map(({ grad }) => grad as Tensor),
            0,
          ),
        ];
  return [y, x.grad as Tensor, ...gradients];
}

function bits(tensors: readonly Tensor[]): string[] {
  return tensors.map((tensor) => `${tensor.toString()} ${Buffer.from(tensor.toBytes()).toString("base64")}`);
}

describe.each(CASES)("groups of $counts rows, $in features to $out", (testCase) => {
  test.each(FLOATING)("%s: the bits of a linear layer for each group, and of every gradient", (dtype) => {
    const expected = bits(results(testCase, dtype, "composed"));
    expect(bits(results(testCase, dtype, "list"))).toEqual(expected);
    expect(bits(results(testCase, dtype, "stack"))).toEqual(expected);
    expect(bits(results(testCase, dtype, "dealt"))).toEqual(expected);
  });
});

describe("grouped linear", () => {
  const mixed = CASES[4] as Case;

  test("agrees with float64 in every layout", () => {
    const counts = [2, 0, 5, 1];
    const groups = groupOf(counts);
    const reference = (x: DoubleArray, weight: DoubleArray): DoubleArray =>
      build([8, 6], (row, column) => {
        let total = 0;
        for (let k = 0; k < 11; k++) total += get(x, row, k) * get(weight, groups[row] as number, column, k);
        return total;
      });
    checkOperation({
      op: (x, weight) => groupedLinear(x, weight, counts),
      reference,
      inputs: [randomArray([8, 11]), randomArray([4, 6, 11], { seed: 2 })],
    });
  });

  test("weights of another dtype, and autocast", () => {
    expect(bits(results(mixed, "bfloat16", "list", "float32"))).toEqual(
      bits(results(mixed, "bfloat16", "composed", "float32")),
    );
    const cast = (form: Form): string[] => autocast("bfloat16", () => bits(results(mixed, "float32", form)));
    expect(cast("stack")).toEqual(cast("composed"));
  });

  test("the same bits with any number of threads", () => {
    const withThreads = (threads: number): string[] => {
      setNumThreads(threads);
      return bits(results(mixed, "float32", "stack"));
    };
    const expected = withThreads(1);
    const found = [2, 3, 7].map(withThreads);
    setNumThreads(2);
    for (const each of found) expect(each).toEqual(expected);
  });

  test("a row has the same bits whatever its neighbours and the size of its group", () => {
    const weight = randomTensor([3, 50, 130], { seed: 2 });
    const x = randomTensor([900, 130], { seed: 3 });
    const row = slice(x, 0, 400, 401);
    const alone = groupedLinear(row, weight, [0, 1, 0]);
    const many = groupedLinear(x, weight, [300, 500, 100]);
    const few = groupedLinear(slice(x, 0, 395, 410), weight, [2, 7, 6]);
    expect(bits([slice(many, 0, 400, 401)])).toEqual(bits([alone]));
    expect(bits([slice(few, 0, 5, 6)])).toEqual(bits([alone]));
  });

  test("only gradients that are needed", () => {
    const x = randomTensor([6, 4]);
    const weights = [1, 2, 3].map((seed) => randomTensor([5, 4], { seed, requiresGrad: seed === 3 }));
    groupedLinear(x, weights, [2, 1, 3]).backward(randomTensor([6, 5], { seed: 9 }));
    expect([x, ...weights].map(({ grad }) => grad === undefined)).toEqual([true, true, true, false]);
    const expected = randomTensor([5, 4], { seed: 3, requiresGrad: true });
    linear(slice(x, 0, 3, 6), expected).backward(slice(randomTensor([6, 5], { seed: 9 }), 0, 3, 6));
    expect(bits([weights[2]?.grad as Tensor])).toEqual(bits([expected.grad as Tensor]));
  });

  test("views as weights, and a gradient that is no matrix of its own", () => {
    const stored = randomTensor([3, 7, 5], { seed: 4 });
    const x = randomTensor([9, 7], { seed: 5, requiresGrad: true });
    const counts = [4, 0, 5];
    const weight = transpose(stored, 1, 2);
    const y = groupedLinear(x, weight, counts);
    y.backward(transpose(randomTensor([5, 9], { seed: 6 }), 0, 1));
    const again = randomTensor([9, 7], { seed: 5, requiresGrad: true });
    const expected = composed(
      again,
      counts.map((_, group) => select(weight, 0, group)),
      counts,
    );
    expected.backward(transpose(randomTensor([5, 9], { seed: 6 }), 0, 1));
    expect(bits([y, x.grad as Tensor])).toEqual(bits([expected, again.grad as Tensor]));
  });

  test("rows that lie in columns: groups begin at addresses of every alignment", () => {
    const counts = [3, 0, 5, 16];
    const run = (op: typeof composed): string[] => {
      const stored = randomTensor([16, 24], { seed: 5, dtype: "bfloat16", requiresGrad: true });
      const weights = counts.map((_, seed) => randomTensor([8, 16], { seed, dtype: "bfloat16", requiresGrad: true }));
      const y = op(transpose(stored, 0, 1), weights, counts);
      y.backward(transpose(randomTensor([8, 24], { seed: 6, dtype: "bfloat16" }), 0, 1));
      return bits([y, ...[stored, ...weights].map(({ grad }) => grad as Tensor)]);
    };
    expect(run(groupedLinear)).toEqual(run(composed));
  });

  test("a dry run has the shapes", async () => {
    await dryRun(() => {
      const shapes = results(mixed, "float32", "stack").map(({ shape }) => shape);
      expect(shapes).toEqual([
        [1489, 96],
        [1489, 70],
        [6, 96, 70],
      ]);
    });
  });

  test("what does not fit is named", () => {
    const x = zeros([6, 4]);
    const weight = zeros([2, 5, 4]);
    for (const [wrong, text] of [
      [() => groupedLinear(x, weight, [3, 4]), "groups of 7 rows"],
      [() => groupedLinear(x, weight, [6]), "1 groups, but weights of 2"],
      [() => groupedLinear(x, weight, [7, -1]), "-1 rows"],
      [() => groupedLinear(x, weight, [5.5, 0.5]), "5.5"],
      [() => groupedLinear(zeros([6, 3]), weight, [3, 3]), "[6, 3]"],
      [() => groupedLinear(zeros([2, 3, 4]), weight, [3, 3]), "[2, 3, 4]"],
      [() => groupedLinear(x, zeros([5, 4]), [3, 3]), "[5, 4]"],
      [() => groupedLinear(x, [zeros([5, 4]), zeros([5, 3])], [3, 3]), "[5, 3]"],
      [() => groupedLinear(x, [zeros([5, 4]), zeros([5, 4], { dtype: "bfloat16" })], [3, 3]), "bfloat16"],
      [() => groupedLinear(x, [], []), "none"],
      [() => groupedLinear(zeros([6, 4], { dtype: "int32" }), weight, [3, 3]), "int32"],
    ] as const) {
      expect(wrong).toThrow(TensorError);
      expect(wrong).toThrow(text);
    }
  });
});

describe("groupRows", () => {
  test.each([
    [0, 3],
    [1, 1],
    [1000, 7],
    [259, 140],
    [300, 2],
  ])("%i rows of %i groups keep their order within each", (rows, count) => {
    const group = Array.from({ length: rows }, (_, row) => (row * row * 31 + (row % 11)) % count);
    for (const dtype of ["int64", "int32"] as const) {
      const groups = groupRows(tensor(group, { dtype, shape: [rows] }), count);
      const expected = Array.from({ length: count }, (_, own) =>
        group.flatMap((each, row) => (each === own ? [row] : [])),
      );
      expect(groups.order.toArray()).toEqual(expected.flat());
      expect(groups.counts()).toEqual(expected.map(({ length }) => length));
      expect(groups.offsets.shape).toEqual([count + 1]);
    }
  });

  test("a group that does not exist is named with its row", () => {
    const wrong = () => groupRows(tensor([0, 2, 1], { dtype: "int64" }), 2).counts();
    expect(wrong).toThrow("groupRows: index 2 at [1] is out of range for size 2");
    expect(() => groupRows(zeros([2, 2], { dtype: "int64" }), 2)).toThrow("[2, 2]");
    expect(() => groupRows(zeros([2]), 2)).toThrow("float32");
  });

  test("on a GPU nothing waits", () => {
    const group = tensor([1, 0, 1, 2], { dtype: "int64" });
    const [x, weight] = [randomTensor([4, 5]), randomTensor([3, 2, 5], { seed: 2, requiresGrad: true })];
    const { waits } = workStats();
    groupedLinear(x, weight, groupRows(group, 3)).backward(randomTensor([4, 2], { seed: 3 }));
    expect(workStats().waits).toBe(waits);
  });
});
