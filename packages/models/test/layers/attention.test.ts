import {
  Generator,
  manualSeed,
  memoryStats,
  mul,
  noGrad,
  randn,
  resetPeakMemory,
  scope,
  sum,
  type Tensor,
  tensor,
} from "@fms-accel/tensor";
import { expectClose, relativeDifference } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { causalAttention, type CausalAttentionOptions, composedAttention } from "../../src/layers/attention.ts";

type Attention = typeof composedAttention;

interface Shape {
  readonly batch: number;
  readonly heads: number;
  readonly keyHeads: number;
  readonly queries: number;
  readonly keys: number;
  readonly dim: number;
}

const SHAPES: readonly Shape[] = [
  { batch: 2, heads: 6, keyHeads: 2, queries: 7, keys: 7, dim: 5 },
  { batch: 1, heads: 3, keyHeads: 1, queries: 1, keys: 9, dim: 8 },
  { batch: 3, heads: 2, keyHeads: 2, queries: 4, keys: 11, dim: 4 },
];

/** Output and gradients of q, k, v for one draw of inputs. */
function run(attention: Attention, shape: Shape, options: CausalAttentionOptions): Float32Array[] {
  const generator = new Generator(7);
  return scope(() => {
    const draw = (heads: number, length: number): Tensor => {
      const made = randn([shape.batch, heads, length, shape.dim], { generator });
      made.requiresGrad = true;
      return made;
    };
    const [q, k, v] = [
      draw(shape.heads, shape.queries),
      draw(shape.keyHeads, shape.keys),
      draw(shape.keyHeads, shape.keys),
    ];
    const weights = randn([shape.batch, shape.heads, shape.queries, shape.dim], { generator });
    const output = attention(q, k, v, options);
    sum(mul(output, weights)).backward();
    const results = [output, q.grad!, k.grad!, v.grad!].map((result) => result.toFloat32Array());
    for (const leaf of [q, k, v]) {
      leaf.grad?.dispose();
    }
    return results;
  });
}

/** The composed one with room for the scores of so many queries of each row and head at once. */
function inBlocks(shape: Shape, rows: number): Attention {
  const scores = rows * shape.batch * shape.heads * shape.keys;
  return (q, k, v, options) => composedAttention(q, k, v, options, scores);
}

function expectSame(shape: Shape, options: CausalAttentionOptions): void {
  const reference = run(composedAttention, shape, options);
  for (const attention of [causalAttention, inBlocks(shape, 1), inBlocks(shape, 2)]) {
    const ours = run(attention, shape, options);
    for (const [index, name] of ["output", "gradient of q", "gradient of k", "gradient of v"].entries()) {
      expectClose(ours[index]!, reference[index]!, { absolute: 2e-6, relative: 1e-5 }, name);
      expect(relativeDifference(ours[index]!, reference[index]!)).toBeLessThan(1e-5);
    }
  }
}

describe.each(SHAPES)("attention of %o", (shape) => {
  const mask = tensor(
    Int32Array.from({ length: shape.batch * shape.keys }, (_, at) =>
      at % shape.keys < Math.floor(at / shape.keys) + 1 ? 0 : 1,
    ),
    { shape: [shape.batch, shape.keys] },
  );

  it("equals the composed one, also in its gradients", () => {
    expectSame(shape, { scale: 0.4 });
    expectSame(shape, { scale: 0.4, window: 3 });
    expectSame(shape, { scale: 1.3, softCap: 0.8 });
    expectSame(shape, { scale: 0.4, keyMask: mask });
    expectSame(shape, { scale: 0.4, keyMask: mask, window: 2, softCap: 2 });
  });

  it("takes the last columns of a mask that is longer than the keys", () => {
    const longer = tensor(
      Int32Array.from({ length: shape.batch * (shape.keys + 2) }, (_, at) => (at % (shape.keys + 2) < 4 ? 0 : 1)),
      { shape: [shape.batch, shape.keys + 2] },
    );
    const shorter = tensor(
      Int32Array.from({ length: shape.batch * shape.keys }, (_, at) => (at % shape.keys < 2 ? 0 : 1)),
      { shape: [shape.batch, shape.keys] },
    );
    const [long, short] = [longer, shorter].map((keyMask) => run(causalAttention, shape, { scale: 0.4, keyMask }));
    expect(long).toEqual(short);
  });
});

describe("attention within sequences", () => {
  const shape = SHAPES[0]!;
  const segments = tensor(
    [
      [0, 0, 0, 1, 1, 1, 1],
      [0, 1, 1, 1, 2, 2, 2],
    ],
    { dtype: "int32" },
  );

  it("equals the composed one", () => {
    expectSame(shape, { scale: 0.4, querySegments: segments, keySegments: segments });
    expectSame(shape, { scale: 0.4, querySegments: segments, keySegments: segments, window: 2 });
  });
});

describe("blocks of queries", () => {
  it("drop the same weights in backward as in forward", () => {
    const shape = SHAPES[0]!;
    const { batch, heads, keyHeads, queries, keys, dim } = shape;
    manualSeed(11);
    scope(() => {
      const v = randn([batch, keyHeads, keys, dim]);
      v.requiresGrad = true;
      const [q, k] = [randn([batch, heads, queries, dim]), randn([batch, keyHeads, keys, dim])];
      const total = sum(inBlocks(shape, 2)(q, k, v, { scale: 0.4, dropout: 0.4 }));
      total.backward();
      // The output is linear in v: with other weights dropped in backward the two would differ.
      const along = noGrad(() => sum(mul(v.grad!, v)).item());
      expect(along).toBeCloseTo(total.item(), 4);
      v.grad!.dispose();
    });
  });

  it("are all of the scores that are held, for backward too", () => {
    const length = 1024;
    const heads = 2;
    scope(() => {
      const [q, k, v] = [1, 2, 3].map(() => randn([1, heads, length, 4])) as [Tensor, Tensor, Tensor];
      q.requiresGrad = true;
      const before = memoryStats().liveBytes;
      resetPeakMemory();
      sum(composedAttention(q, k, v, { scale: 0.5, dropout: 0.1 }, heads * length * 32)).backward();
      expect(memoryStats().peakBytes - before).toBeLessThan(4 * heads * length * length);
      q.grad!.dispose();
    });
  });
});

describe("dropped attention weights", () => {
  const shape = SHAPES[0]!;

  it("repeat with the seed, change the output, and keep it in the mean", () => {
    const dropped = (seed: number): Float32Array => {
      manualSeed(seed);
      return run(causalAttention, shape, { scale: 0.4, dropout: 0.3 })[0]!;
    };
    expect(dropped(3)).toEqual(dropped(3));
    expect(dropped(3)).not.toEqual(dropped(4));
    const exact = run(causalAttention, shape, { scale: 0.4 })[0]!;
    const mean = new Float64Array(exact.length);
    const rounds = 400;
    for (let seed = 0; seed < rounds; seed++) {
      dropped(seed).forEach((value, index) => (mean[index]! += value / rounds));
    }
    // Standard error of the mean: at most |v| · sqrt(0.3 / 0.7 / 400), about 0.03 of the values' size.
    expectClose(mean, exact, { absolute: 0.35 });
    let bias = 0;
    mean.forEach((value, index) => (bias += (value - exact[index]!) / mean.length));
    expect(Math.abs(bias)).toBeLessThan(0.01);
  });
});
