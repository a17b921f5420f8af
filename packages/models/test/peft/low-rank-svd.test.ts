import { describe, expect, it } from "vitest";

import { truncatedSvd, type Vectors } from "../../src/peft/low-rank-svd.ts";

/** Columns, or rows, of waves. */
const waves = (count: number, length: number, phase: number): Vectors =>
  Array.from({ length: count }, (_, j) =>
    Float64Array.from({ length }, (_value, i) => Math.sin((i + 1) * (j + phase) * 0.37) * 2 ** -j),
  );

function product(columns: Vectors, rows: Vectors, height: number, width: number): number[][] {
  return Array.from({ length: height }, (_, y) =>
    Array.from({ length: width }, (_value, x) =>
      columns.reduce((sum, column, at) => sum + column[y]! * rows[at]![x]!, 0),
    ),
  );
}

const distance = (a: number[][], b: number[][]): number =>
  Math.sqrt(
    a.flatMap((row, y) => row.map((value, x) => (value - b[y]![x]!) ** 2)).reduce((sum, part) => sum + part, 0),
  );
const lengthOf = (vector: Float64Array): number => Math.hypot(...vector);
const dot = (x: Float64Array, y: Float64Array): number => x.reduce((sum, value, at) => sum + value * y[at]!, 0);

describe.each([
  { count: 1, height: 5, width: 3 },
  { count: 4, height: 7, width: 9 },
  { count: 6, height: 4, width: 31 }, // more vectors than the matrix has rows
  { count: 12, height: 40, width: 23 },
])("$count vectors, [$height, $width]", ({ count, height, width }) => {
  const [columns, rows] = [waves(count, height, 1), waves(count, width, 2.5)];
  const whole = product(columns, rows, height, width);

  it("is the product, with orthonormal A, orthogonal B and falling singular values", () => {
    const { a, b } = truncatedSvd(columns, rows, count);
    expect(distance(product(b, a, height, width), whole)).toBeLessThan(1e-12);
    const rank = Math.min(count, height, width);
    for (let i = 0; i < rank; i++) {
      for (let j = 0; j < rank; j++) {
        expect(Math.abs(dot(a[i]!, a[j]!) - (i === j ? 1 : 0))).toBeLessThan(1e-9);
        if (i !== j) expect(Math.abs(dot(b[i]!, b[j]!))).toBeLessThan(1e-12);
      }
    }
    const values = b.map(lengthOf);
    expect(values).toEqual(values.toSorted((x, y) => y - x));
  });

  it("cut short, is off by exactly the singular values that are left out", () => {
    const values = truncatedSvd(columns, rows, count).b.map(lengthOf);
    for (let rank = 1; rank < count; rank++) {
      const { a, b } = truncatedSvd(columns, rows, rank);
      expect(a).toHaveLength(rank);
      expect(distance(product(b, a, height, width), whole)).toBeCloseTo(Math.hypot(...values.slice(rank)), 12);
    }
  });
});

it("factors of zeros, and vectors that depend on each other", () => {
  const zeros = [new Float64Array(4), new Float64Array(4)];
  const { a, b } = truncatedSvd(zeros, waves(2, 5, 1), 2);
  expect(
    product(b, a, 4, 5)
      .flat()
      .every((value) => value === 0),
  ).toBe(true);
  const [column] = waves(1, 6, 1);
  const twice = [column!, column!.map((value) => -2 * value), column!];
  const rows = waves(3, 5, 2);
  const found = truncatedSvd(twice, rows, 1);
  expect(distance(product(found.b, found.a, 6, 5), product(twice, rows, 6, 5))).toBeLessThan(1e-12);
});
