import { expectClose } from "@fms-accel/test-utilities";
import { describe, expect, test } from "vitest";
import {
  type DType,
  embedding,
  expand,
  gather,
  indexAdd,
  indexSelect,
  mul,
  scatterAdd,
  setNumThreads,
  sort,
  sum,
  tensor,
  type Tensor,
  TensorError,
  topk,
  zeros,
} from "../src/index.ts";
import { checkOperation } from "./support/check-gradients.ts";
import { build, type DoubleArray, get, LAYOUTS, laidOut, randomArray, read } from "./support/double-array.ts";
import { randomTensor } from "./support/random-tensor.ts";

const INDEX_DTYPES = ["int32", "int64", "uint8"] as const;
const index = (values: number[], shape: number[] = [values.length], dtype: DType = "int32"): Tensor =>
  tensor(values, { shape, dtype });
// The index with position `dim` replaced.
const at = (place: number[], dim: number, value: number): number[] => place.map((k, d) => (d === dim ? value : k));

// Large enough for several panels; targets repeat.
const COLLISIONS = 4000;

describe("embedding", () => {
  test.each([
    [[3], [5, 4]],
    [
      [2, 3],
      [5, 123],
    ],
    [[1], [1, 1]],
    [[4], [6]],
    [[2], [3, 2, 2]],
  ] as [number[], number[]][])("ids %j into %j: rows and gradient in every dtype and layout", (idShape, shape) => {
    const ids = Array.from(
      { length: idShape.reduce((a, b) => a * b, 1) },
      (_, i) => (i * i + 1) % (shape[0] as number),
    );
    for (const dtype of INDEX_DTYPES) {
      checkOperation({
        op: (weight) => embedding(index(ids, idShape, dtype), weight),
        reference: (weight) =>
          build([...idShape, ...shape.slice(1)], (...place) => {
            const id =
              ids[place.slice(0, idShape.length).reduce((offset, k, d) => offset * (idShape[d] as number) + k, 0)];
            return get(weight, id as number, ...place.slice(idShape.length));
          }),
        inputs: [randomArray(shape)],
        layouts: dtype === "int32" ? LAYOUTS : ["contiguous"],
      });
    }
  });
  test("a scalar id, no ids", () => {
    const weight = randomTensor([4, 3]);
    expect(embedding(index([2], []), weight).toArray()).toEqual(weight.toArray().slice(6, 9));
    expect(embedding(index([], [2, 0]), weight).shape).toEqual([2, 0, 3]);
  });
  test("the padding row gets no gradient", () => {
    for (const paddingIdx of [1, -2]) {
      const weight = randomTensor([3, 2], { requiresGrad: true });
      sum(embedding(index([1, 0, 1, 2, 0]), weight, { paddingIdx })).backward();
      expect(weight.grad?.toArray()).toEqual([2, 2, 0, 0, 1, 1]);
    }
  });
  test("a row that many ids name is rounded once, in bfloat16 too", () => {
    const ids = index(Array.from({ length: COLLISIONS }, (_, i) => i % 3));
    const weight = randomTensor([3, 5], { dtype: "bfloat16", requiresGrad: true });
    const gradient = randomTensor([COLLISIONS, 5], { seed: 4, dtype: "bfloat16" });
    embedding(ids, weight).backward(gradient);
    const values = gradient.toArray();
    const exact = build([3, 5], (row, column) => {
      let total = 0;
      for (let i = row; i < COLLISIONS; i += 3) total += values[i * 5 + column] as number;
      return total;
    });
    expectClose(weight.grad?.toArray() ?? [], exact.data, { relative: 2 ** -8 });
  });
  test("the same bits for every number of threads", () => {
    const results = [1, 2, 3].map((threads) => {
      setNumThreads(threads);
      const weight = randomTensor([50, 1100], { requiresGrad: true });
      embedding(index(Array.from({ length: 500 }, (_, i) => (i * i) % 50)), weight).backward(
        randomTensor([500, 1100], { seed: 3 }),
      );
      return weight.grad?.toArray();
    });
    setNumThreads(2);
    expect(results[1]).toEqual(results[0]);
    expect(results[2]).toEqual(results[0]);
  });
  test("wrong arguments", () => {
    const weight = zeros([5, 2]);
    expect(() => embedding(index([0, 1, 2, 5], [2, 2]), weight)).toThrow(TensorError);
    expect(() => embedding(index([0, 1, 2, 5], [2, 2]), weight)).toThrow(
      /index 5 at \[1, 1\] is out of range for size 5/,
    );
    expect(() => embedding(index([-1]), weight)).toThrow(/index -1 at \[0\]/);
    expect(() => embedding(zeros([2]), weight)).toThrow(/expected an integer index, found float32/);
    expect(() => embedding(index([0]), weight, { paddingIdx: 5 })).toThrow(/paddingIdx 5/);
    expect(() => embedding(index([0]), zeros([]))).toThrow(TensorError);
  });
});

describe("indexSelect and indexAdd", () => {
  const CASES: [number[], number, number[]][] = [
    [[5], 0, [4, 0, 4]],
    [[5, 23], 0, [1, 3, 3, 0]],
    [[5, 23], 1, [22, 0, 0, 7]],
    [[3, 4, 5], 1, [3, 3, 1, 0, 2]],
    [[3, 4, 5], -1, [0]],
  ];
  test.each(CASES)("indexSelect: shape %j along %i at %j", (shape, dim, positions) => {
    const along = dim < 0 ? dim + shape.length : dim;
    checkOperation({
      op: (x) => indexSelect(x, dim, index(positions)),
      reference: (x) =>
        build(at(shape, along, positions.length), (...place) =>
          get(x, ...at(place, along, positions[place[along] as number] as number)),
        ),
      inputs: [randomArray(shape)],
    });
  });
  test.each(CASES)("indexAdd: shape %j along %i at %j", (shape, dim, positions) => {
    const along = dim < 0 ? dim + shape.length : dim;
    checkOperation({
      op: (x, source) => indexAdd(x, dim, index(positions), source),
      reference: (x, source) =>
        build(shape, (...place) =>
          positions.reduce(
            (value, position, j) => (position === place[along] ? value + get(source, ...at(place, along, j)) : value),
            get(x, ...place),
          ),
        ),
      inputs: [randomArray(shape), randomArray(at(shape, along, positions.length), { seed: 2 })],
    });
  });
  test("every dtype", () => {
    for (const dtype of ["int32", "int64", "uint8", "float16"] as const) {
      const x = tensor([1, 2, 3, 4], { shape: [2, 2], dtype });
      expect(indexSelect(x, 0, index([1, 0, 1])).toArray()).toEqual([3, 4, 1, 2, 3, 4]);
      expect(indexAdd(x, 1, index([1]), tensor([10, 20], { shape: [2, 1], dtype })).toArray()).toEqual([1, 12, 3, 24]);
    }
    expect(indexSelect(tensor([1, 0], { dtype: "bool" }), 0, index([1, 0])).toArray()).toEqual([0, 1]);
  });
  test("the input is not changed; no positions", () => {
    const x = tensor([1, 2]);
    indexAdd(x, 0, index([0]), tensor([5]));
    expect(x.toArray()).toEqual([1, 2]);
    expect(indexAdd(x, 0, index([]), zeros([0])).toArray()).toEqual([1, 2]);
    expect(indexSelect(x, 0, index([])).shape).toEqual([0]);
    expect(indexSelect(expand(tensor([7]), [3]), 0, index([2, 0])).toArray()).toEqual([7, 7]);
  });
  test("wrong arguments", () => {
    const x = zeros([2, 3]);
    expect(() => indexSelect(x, 0, index([2]))).toThrow(/indexSelect: index 2 at \[0\] is out of range for size 2/);
    expect(() => indexSelect(x, 2, index([0]))).toThrow(TensorError);
    expect(() => indexSelect(x, 0, index([0, 1], [1, 2]))).toThrow(/index of one dimension/);
    expect(() => indexAdd(x, 1, index([0]), zeros([2, 2]))).toThrow(
      /expected a source of shape \[2, 1\], found \[2, 2\]/,
    );
    expect(() => indexAdd(x, 0, index([0]), zeros([1, 3], { dtype: "bfloat16" }))).toThrow(
      /bfloat16 cannot be added to float32/,
    );
  });
});

describe("gather and scatterAdd", () => {
  const CASES: [number[], number[], number][] = [
    [[5], [3], 0],
    [[5, 23], [5, 2], 1],
    [[5, 23], [9, 23], 0],
    [[3, 4, 5], [3, 6, 5], 1],
    [[3, 4, 5], [2, 4, 3], 2],
    [[70, 3], [70, 1], -1],
  ];
  const positionsFor = (shape: number[], indexShape: number[], dim: number): DoubleArray =>
    build(indexShape, (...place) => place.reduce((a, k) => a * 3 + k + 1, 7) % (shape[dim] as number));
  test.each(CASES)("gather: shape %j, index %j, along %i", (shape, indexShape, dim) => {
    const along = dim < 0 ? dim + shape.length : dim;
    const positions = positionsFor(shape, indexShape, along);
    for (const layout of LAYOUTS) {
      const places = laidOut(positions, layout, { dtype: "int64" });
      checkOperation({
        op: (x) => gather(x, dim, places),
        reference: (x) => build(indexShape, (...place) => get(x, ...at(place, along, get(positions, ...place)))),
        inputs: [randomArray(shape)],
        dtypes: layout === "contiguous" ? ["float32", "bfloat16", "float16"] : ["float32"],
      });
    }
  });
  test.each(CASES)("scatterAdd: shape %j, index %j, along %i", (shape, indexShape, dim) => {
    const along = dim < 0 ? dim + shape.length : dim;
    const positions = positionsFor(shape, indexShape, along);
    checkOperation({
      op: (x, source) => scatterAdd(x, dim, index(Array.from(positions.data), indexShape), source),
      reference: (x, source) => {
        const result = new Map<string, number>();
        const sums = build(indexShape, (...place) => {
          const key = at(place, along, get(positions, ...place)).join();
          result.set(key, (result.get(key) ?? 0) + get(source, ...place));
          return 0;
        });
        expect(sums.shape).toEqual(indexShape);
        return build(shape, (...place) => get(x, ...place) + (result.get(place.join()) ?? 0));
      },
      inputs: [randomArray(shape), randomArray(indexShape, { seed: 2 })],
      roundings: 16,
    });
  });
  test("every dtype", () => {
    for (const dtype of ["int32", "int64", "uint8", "bool"] as const) {
      const x = tensor([1, 0, 0, 1], { shape: [2, 2], dtype });
      expect(gather(x, 1, index([1, 1, 0, 1], [2, 2])).toArray()).toEqual([0, 0, 0, 1]);
    }
    const counts = scatterAdd(
      zeros([3], { dtype: "int64" }),
      0,
      index([2, 2, 0, 2]),
      tensor([1, 1, 1, 1], { dtype: "int64" }),
    );
    expect(counts.toArray()).toEqual([1, 0, 3]);
  });
  test("the same bits for every number of threads", () => {
    const positions = index(
      Array.from({ length: 40 * 300 }, (_, i) => (i * i) % 7),
      [40, 300],
    );
    const results = [1, 3].map((threads) => {
      setNumThreads(threads);
      return scatterAdd(zeros([7, 300]), 0, positions, randomTensor([40, 300])).toArray();
    });
    setNumThreads(2);
    expect(results[1]).toEqual(results[0]);
  });
  test("wrong arguments; no elements", () => {
    const x = zeros([2, 3]);
    expect(() => gather(x, 1, index([3], [1, 1]))).toThrow(/gather: index 3 at \[0, 0\] is out of range for size 3/);
    expect(() => gather(x, 1, index([0]))).toThrow(/an index of shape \[1\] does not fit \[2, 3\]/);
    expect(() => gather(x, 1, index([0, 0, 0], [3, 1]))).toThrow(TensorError);
    expect(() => scatterAdd(x, 1, index([0], [1, 1]), zeros([1, 2]))).toThrow(/must have the same shape/);
    expect(() => scatterAdd(x, 1, index([0], [1, 1]), zeros([1, 1], { dtype: "float16" }))).toThrow(
      /float16 cannot be added/,
    );
    expect(gather(x, 1, index([], [2, 0])).shape).toEqual([2, 0]);
  });
});

describe("sort and topk", () => {
  const ordered = (row: number[], descending: boolean): number[] =>
    row
      .map((_, i) => i)
      .sort((a, b) => {
        const [x, y] = [row[a] as number, row[b] as number];
        const order = Number.isNaN(x) ? (Number.isNaN(y) ? 0 : 1) : Number.isNaN(y) ? -1 : x - y;
        return (descending ? -order : order) || a - b;
      });
  test.each([
    [[7], 0],
    [[5, 23], 1],
    [[5, 23], 0],
    [[3, 4, 5], 1],
  ] as [number[], number][])("shape %j along %i in every dtype, layout and direction", (shape, dim) => {
    // Few distinct values, so that ties happen.
    const values = build(shape, (...place) => place.reduce((a, k) => a * 5 + k * k + 3, 1) % 9);
    for (const dtype of ["float32", "bfloat16", "float16", "int32", "int64", "uint8"] as const) {
      for (const layout of LAYOUTS) {
        for (const descending of [false, true]) {
          const x = laidOut(values, layout, { dtype });
          const { values: sorted, indices } = sort(x, dim, descending);
          const expected = build(shape, (...place) => {
            const row = Array.from({ length: shape[dim] as number }, (_, i) => get(values, ...at(place, dim, i)));
            return ordered(row, descending)[place[dim] as number] as number;
          });
          expect(indices.dtype).toBe("int64");
          expect(indices.toArray()).toEqual(Array.from(expected.data));
          expect(sorted.dtype).toBe(dtype);
          expect(sorted.toArray()).toEqual(gather(x, dim, indices).toArray());
          if (!descending) continue;
          const top = topk(x, 2, dim);
          expect(top.indices.toArray()).toEqual(
            Array.from(build(at(shape, dim, 2), (...place) => get(expected, ...place)).data),
          );
          expect(top.values.toArray()).toEqual(gather(x, dim, top.indices).toArray());
        }
      }
    }
  });
  test("a long row with NaN and infinities", () => {
    const row = Array.from(randomArray([5000]).data, Math.fround);
    row[17] = NaN;
    row[4000] = Infinity;
    row[4001] = -Infinity;
    expect(sort(tensor(row)).indices.toArray()).toEqual(ordered(row, false));
    expect(topk(tensor(row), 50).indices.toArray()).toEqual(ordered(row, true).slice(0, 50));
    expect(topk(tensor(row), 5000).indices.toArray()).toEqual(ordered(row, true));
    expect(topk(tensor(row), 0).values.shape).toEqual([0]);
  });
  test("gradients go to the elements that were chosen", () => {
    const x = tensor([3, 1, 2, 6, 5, 4], { shape: [2, 3], requiresGrad: true });
    sum(mul(topk(x, 2).values, tensor([1, 2, 3, 4], { shape: [2, 2] }))).backward();
    expect(x.grad?.toArray()).toEqual([1, 0, 2, 3, 4, 0]);
    x.grad = undefined;
    sum(mul(sort(x).values, tensor([1, 2, 3]))).backward();
    expect((x.grad as unknown as Tensor).toArray()).toEqual([3, 1, 2, 3, 2, 1]);
  });
  test("wrong arguments; no elements", () => {
    expect(() => topk(zeros([3]), 4)).toThrow(/topk: 4 elements of dimension -1 in \[3\]/);
    expect(() => topk(zeros([3]), -1)).toThrow(TensorError);
    expect(() => topk(zeros([3]), 1, 1)).toThrow(TensorError);
    expect(() => sort(zeros([3]), 1)).toThrow(/sort: dimension 1 is out of range/);
    expect(sort(zeros([0, 3]), 0).values.shape).toEqual([0, 3]);
    expect(read(topk(zeros([2, 0, 3]), 0, 1).values).shape).toEqual([2, 0, 3]);
  });
});
