import { describe, expect, test } from "vitest";
import {
  checkpoint,
  dropout,
  Generator,
  manualSeed,
  mul,
  normal_,
  permute,
  rand,
  randn,
  scope,
  setNumThreads,
  slice,
  sum,
  tensor,
  type Tensor,
  TensorError,
  uniform_,
  zeros,
} from "../src/index.ts";
import { erf } from "./support/special-functions.ts";

// Philox 4x32-10, written after the paper with exact integers.
function philox(counter: readonly bigint[], key: readonly bigint[]): bigint[] {
  const word = (1n << 32n) - 1n;
  let [c0, c1, c2, c3] = counter as [bigint, bigint, bigint, bigint];
  let [k0, k1] = key as [bigint, bigint];
  for (let round = 0; round < 10; round++) {
    const first = 0xd2511f53n * c0;
    const second = 0xcd9e8d57n * c2;
    [c0, c1, c2, c3] = [(second >> 32n) ^ c1 ^ k0, second & word, (first >> 32n) ^ c3 ^ k1, first & word];
    k0 = (k0 + 0x9e3779b9n) & word;
    k1 = (k1 + 0xbb67ae85n) & word;
  }
  return [c0, c1, c2, c3];
}

// Word i of a draw.
function words(seed: bigint, offset: bigint, count: number): number[] {
  const low = (1n << 32n) - 1n;
  return Array.from({ length: Math.ceil(count / 4) }, (_, block) => {
    const counter = offset + BigInt(block);
    return philox([counter & low, (counter >> 32n) & low, 0n, 0n], [seed & low, seed >> 32n]).map(Number);
  })
    .flat()
    .slice(0, count);
}

const generator = (seed: bigint, offset = 0n): Generator => {
  const made = new Generator(seed);
  made.setState({ seed, offset });
  return made;
};

test("the reference gives the published vectors of Random123", () => {
  const ones = 0xffffffffn;
  expect(philox([0n, 0n, 0n, 0n], [0n, 0n])).toEqual([0x6627e8d5n, 0xe169c58dn, 0xbc57ac4cn, 0x9b00dbd8n]);
  expect(philox([ones, ones, ones, ones], [ones, ones])).toEqual([0x408f276dn, 0x41c83b0en, 0xa20bc7c6n, 0x6d5451fdn]);
  expect(philox([0x243f6a88n, 0x85a308d3n, 0x13198a2en, 0x03707344n], [0xa4093822n, 0x299f31d0n])).toEqual([
    0xd16cfe09n,
    0x94fdccebn,
    0x5001e420n,
    0x24126ea1n,
  ]);
});

describe.each([
  [0n, 0n],
  [1234n, 0n],
  [(1n << 63n) + 12345678901n, 7n],
  [42n, (1n << 32n) - 2n],
  [3n, (1n << 63n) + 99n],
])("seed %d, offset %d", (seed, offset) => {
  test.each([1, 3, 4, 5, 1023, 1025, 4099])("%i uniform numbers are the words of Philox", (count) => {
    const actual = rand([count], { generator: generator(seed, offset) }).toArray();
    expect(actual).toEqual(words(seed, offset, count).map((word) => (word >>> 8) / 2 ** 24));
  });
  test("dropout drops where the word is below p", () => {
    const x = tensor(new Float32Array(5001).fill(1));
    const kept = dropout(x, 0.25, generator(seed, offset)).toArray();
    expect(kept).toEqual(words(seed, offset, 5001).map((word) => (word < 2 ** 30 ? 0 : Math.fround(4 / 3))));
  });
  test("normal numbers are those of Box and Muller", () => {
    const count = 2051;
    const random = words(seed, offset, count + 1);
    randn([count], { generator: generator(seed, offset) })
      .toArray()
      .forEach((actual, i) => {
        const u = ((random[i - (i % 2)] as number) >>> 1) + 1;
        const radius = Math.sqrt(-2 * Math.log(Math.fround(u) / 2 ** 31));
        const angle = (((random[i - (i % 2) + 1] as number) >>> 8) / 2 ** 24) * 2 * Math.PI;
        const exact = radius * (i % 2 === 0 ? Math.cos(angle) : Math.sin(angle));
        expect(Math.abs(actual - exact), `element ${i}`).toBeLessThan(3e-6);
      });
  });
});

describe("draws", () => {
  test("a draw of n takes ceil(n / 4) blocks, and a state can be set again", () => {
    const source = new Generator(5);
    rand([5], { generator: source });
    expect(source.state()).toEqual({ seed: 5n, offset: 2n });
    const state = source.state();
    const first = randn([9], { generator: source }).toArray();
    source.setState(state);
    expect(randn([9], { generator: source }).toArray()).toEqual(first);
    expect(randn([9], { generator: source }).toArray()).not.toEqual(first);
  });
  test("the default generator and its seed", () => {
    manualSeed(77);
    const first = [rand([3]).toArray(), randn([3]).toArray()];
    manualSeed(77);
    expect([rand([3]).toArray(), randn([3]).toArray()]).toEqual(first);
    expect(first[0]).toEqual(rand([3], { generator: new Generator(77) }).toArray());
  });
  test("the same bits for every number of threads", () => {
    const draws = [1, 2, 3].map((threads) => {
      setNumThreads(threads);
      const source = new Generator(1);
      const x = randn([70_001], { generator: source });
      return [x.toArray(), rand([70_001], { generator: source }).toArray(), dropout(x, 0.5, source).toArray()];
    });
    setNumThreads(2);
    expect(draws[1]).toEqual(draws[0]);
    expect(draws[2]).toEqual(draws[0]);
  });
  test("in place, in row-major order whatever the strides, and only inside the view", () => {
    const plain = uniform_(zeros([3, 4]), 0, 1, new Generator(2)).toArray();
    const turned = permute(zeros([4, 3]), [1, 0]);
    expect(uniform_(turned, 0, 1, new Generator(2))).toBe(turned);
    expect(turned.toArray()).toEqual(plain);
    const base = zeros([3, 9]);
    uniform_(slice(base, 1, 1, 9, 2), 0, 1, new Generator(2));
    expect(slice(base, 1, 1, 9, 2).toArray()).toEqual(plain);
    expect(sum(slice(base, 1, 0, 9, 2)).item()).toBe(0);
  });
  test("bounds, mean and standard deviation", () => {
    const u = uniform_(zeros([100_000]), -3, 5, new Generator(1)).toFloat32Array();
    expect(Math.min(...u.subarray(0, 50_000))).toBeGreaterThanOrEqual(-3);
    expect(Math.max(...u.subarray(0, 50_000))).toBeLessThan(5);
    const x = normal_(zeros([200_000]), 2, 0.5, new Generator(3)).toFloat32Array();
    const average = x.reduce((a, b) => a + b, 0) / x.length;
    const variance = x.reduce((a, b) => a + (b - average) ** 2, 0) / x.length;
    // Four standard errors.
    expect(Math.abs(average - 2)).toBeLessThan((4 * 0.5) / Math.sqrt(200_000));
    expect(Math.abs(variance - 0.25)).toBeLessThan(4 * 0.25 * Math.sqrt(2 / 200_000));
    expect(normal_(zeros([5]), 7, 0).toArray()).toEqual([7, 7, 7, 7, 7]);
  });
  test("shares of the normal distribution (Kolmogorov and Smirnov)", () => {
    const n = 100_000;
    const x = randn([n], { generator: new Generator(11) })
      .toFloat32Array()
      .sort();
    let distance = 0;
    x.forEach(
      (value, i) => (distance = Math.max(distance, Math.abs(0.5 * (1 + erf(value / Math.SQRT2)) - (i + 0.5) / n))),
    );
    expect(distance).toBeLessThan(1.63 / Math.sqrt(n));
  });
  test("narrow dtypes: uniform numbers stay below 1, normal ones are the rounded float32 ones", () => {
    for (const [dtype, bits] of [
      ["bfloat16", 8],
      ["float16", 11],
    ] as const) {
      const u = rand([20_000], { dtype, generator: new Generator(4) });
      expect(u.dtype).toBe(dtype);
      expect(u.toArray()).toEqual(words(4n, 0n, 20_000).map((word) => (word >>> (32 - bits)) / 2 ** bits));
      const x = randn([500], { dtype, generator: new Generator(4) });
      const wide = randn([500], { generator: new Generator(4) });
      expect(x.toArray()).toEqual(tensor(wide.toFloat32Array(), { dtype }).toArray());
    }
  });
  test("options and wrong arguments", () => {
    expect(rand([2], { requiresGrad: true }).requiresGrad).toBe(true);
    expect(rand([0, 3]).shape).toEqual([0, 3]);
    expect(() => rand([2], { dtype: "int32" })).toThrow(/expected a floating tensor, found int32/);
    expect(() => uniform_(zeros([2]), 1, 0)).toThrow(TensorError);
    expect(() => uniform_(zeros([2]), 0, Infinity)).toThrow(TensorError);
    expect(() => normal_(zeros([2]), 0, -1)).toThrow(TensorError);
    expect(() => new Generator(-1)).toThrow(TensorError);
    expect(() => new Generator(0.5)).toThrow(/seed/);
  });
});

describe("dropout", () => {
  test("keeps the share 1 - p and the expectation, in every dtype", () => {
    for (const dtype of ["float32", "bfloat16", "float16"] as const) {
      const x = tensor(new Float32Array(100_000).fill(1), { dtype });
      const y = dropout(x, 0.1, new Generator(8));
      expect(y.dtype).toBe(dtype);
      const values = y.toFloat32Array();
      const kept = values.filter((value) => value !== 0);
      expect(Math.abs(kept.length / values.length - 0.9)).toBeLessThan(4 * Math.sqrt(0.09 / 100_000));
      expect(new Set(kept)).toEqual(new Set(tensor([1 / 0.9], { dtype }).toArray()));
    }
  });
  test("backward draws the same mask, for a gradient of any layout", () => {
    const x = tensor(new Float32Array(300).fill(1), { shape: [20, 15], requiresGrad: true });
    const y = dropout(x, 0.5, new Generator(3));
    const weights = permute(
      tensor(
        Float32Array.from({ length: 300 }, (_, i) => i + 1),
        { shape: [15, 20] },
      ),
      [1, 0],
    );
    sum(mul(y, weights)).backward();
    expect(x.grad?.toArray()).toEqual(mul(y, weights).toArray());
  });
  test("a view loses the same elements as its copy", () => {
    const x = permute(
      tensor(
        Float32Array.from({ length: 60 }, (_, i) => i + 1),
        { shape: [10, 6] },
      ),
      [1, 0],
    );
    const copy = tensor(x.toFloat32Array(), { shape: [6, 10] });
    expect(dropout(x, 0.3, new Generator(1)).toArray()).toEqual(dropout(copy, 0.3, new Generator(1)).toArray());
  });
  test("p = 0 gives x itself and draws nothing, p = 1 gives 0", () => {
    const source = new Generator(1);
    const x = tensor([1, 2, 3]);
    expect(dropout(x, 0, source)).toBe(x);
    expect(source.state().offset).toBe(0n);
    expect(dropout(x, 1, source).toArray()).toEqual([0, 0, 0]);
    expect(dropout(zeros([0]), 0.5).shape).toEqual([0]);
  });
  test("a checkpointed body repeats its mask", () => {
    const run = (body: (f: (x: Tensor) => Tensor, x: Tensor) => Tensor): number[] =>
      scope(() => {
        manualSeed(9);
        const x = tensor(new Float32Array(64).fill(1), { requiresGrad: true });
        sum(body((y) => mul(dropout(y, 0.5), 3), x)).backward();
        return x.grad?.toArray() ?? [];
      });
    expect(run((f, x) => checkpoint(f, x))).toEqual(run((f, x) => f(x)));
  });
  test("wrong arguments", () => {
    expect(() => dropout(zeros([2]), 1.5)).toThrow(/must lie in 0 to 1, found 1.5/);
    expect(() => dropout(zeros([2]), -0.1)).toThrow(TensorError);
    expect(() => dropout(zeros([2]), NaN)).toThrow(TensorError);
    expect(() => dropout(zeros([2], { dtype: "int32" }), 0.5)).toThrow(/found int32/);
  });
});
