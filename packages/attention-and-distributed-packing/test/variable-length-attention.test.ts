import {
  add,
  autocast,
  checkpoint,
  defaultDevice,
  type DType,
  engineExternal,
  engineInfo,
  memoryStats,
  mul,
  noGrad,
  reshape,
  resetPeakMemory,
  scaledDotProductAttention,
  scope,
  setNumThreads,
  slice,
  sum,
  type Tensor,
  tensor,
  TensorError,
  transpose,
  unsqueeze,
  zeros,
} from "@fms-accel/tensor";
import { relativeDifference } from "@fms-accel/test-utilities";
import { afterEach, describe, expect, test } from "vitest";
import { nativeAddon } from "../src/native.ts";
import { variableLengthAttention } from "../src/ops/variable-length-attention.ts";
import { attentionOperands, type AttentionOperands, cumulativeLengths } from "./support/attention-operands.ts";
import { type AttentionCase, referenceAttention } from "./support/reference-attention.ts";

const { isa: bestIsa, availableIsas, threads } = engineInfo();
// The instruction set is the CPU's; on a device, which may be emulated, long sequences are a part as long.
const onDevice = defaultDevice() !== "cpu";
const isas = onDevice ? [bestIsa] : availableIsas;
const ofLength = (length: number): number => (onDevice ? Math.ceil(length / 5) : length);
function useIsa(isa: string): void {
  nativeAddon().attach(engineExternal(), isa, TensorError);
}
afterEach(() => {
  useIsa(bestIsa);
  setNumThreads(threads);
});

/** The result and the gradients of q, k and v. */
function run(c: AttentionCase, { q, k, v, outGradient, cuSeqlens }: AttentionOperands): Tensor[] {
  const { isCausal, window, softCap, scale } = c;
  const out = variableLengthAttention(q, k, v, cuSeqlens, { isCausal, window, softCap, scale });
  out.backward(outGradient);
  return [out, q.grad!, k.grad!, v.grad!];
}

const MIXED = [1, 5, 0, 17, 123, 2, 64, 0];
const CASES: Record<string, AttentionCase> = {
  causal: { lengths: MIXED, heads: 3, kvHeads: 1, dim: 64, isCausal: true },
  "not causal": { lengths: MIXED, heads: 3, kvHeads: 1, dim: 64, isCausal: false },
  "every query head has its own keys": { lengths: [5, 123, 90], heads: 4, kvHeads: 4, dim: 32, isCausal: true },
  "a group of 8": { lengths: [17, 123], heads: 8, kvHeads: 1, dim: 128, isCausal: true },
  window: { lengths: [1, 17, 140, 64], heads: 4, kvHeads: 2, dim: 64, isCausal: true, window: 50 },
  "window on both sides": { lengths: [1, 17, 140, 64], heads: 4, kvHeads: 2, dim: 64, isCausal: false, window: 37 },
  "window of one token": { lengths: [1, 70], heads: 2, kvHeads: 1, dim: 16, isCausal: true, window: 1 },
  "soft cap": { lengths: [23, 111], heads: 4, kvHeads: 2, dim: 64, isCausal: true, softCap: 2.5 },
  "window, soft cap and scale": {
    lengths: [17, 150],
    heads: 2,
    kvHeads: 2,
    dim: 80,
    isCausal: true,
    window: 60,
    softCap: 4,
    scale: 0.3,
  },
  "several key blocks": { lengths: [700], heads: 2, kvHeads: 1, dim: 16, isCausal: true },
  "several chunks of keys": { lengths: [1500, 3], heads: 1, kvHeads: 1, dim: 16, isCausal: true, window: 900 },
  "one token": { lengths: [1], heads: 2, kvHeads: 1, dim: 24, isCausal: true },
  nothing: { lengths: [0, 0], heads: 2, kvHeads: 1, dim: 16, isCausal: true },
  ...Object.fromEntries(
    [1, 5, 8, 16, 24, 36, 48, 80, 96, 112, 192, 256].map((dim) => [
      `head dimension ${dim}`,
      { lengths: [1, 5, 17, 60], heads: 3, kvHeads: 1, dim, isCausal: dim % 16 !== 0 },
    ]),
  ),
};

// As a share of the largest value. float32: sums in another order, the exponential to 1e-7. bfloat16: weights, score gradients and results
// are rounded to 8 bits; float16: only the results, to 11, and on a device the others too.
const TOLERANCE: Record<string, number> = { float32: 3e-6, bfloat16: 1.5e-2, float16: onDevice ? 1.5e-2 / 8 : 1e-3 };

test.each(Object.entries(CASES))("%s: equals its definition, gradients too, in every dtype", (_, c) => {
  for (const dtype of ["float32", "bfloat16", "float16"] as DType[]) {
    const { q, k, v, outGradient } = attentionOperands(c, dtype);
    const expected = referenceAttention(c, {
      q: q.toFloat32Array(),
      k: k.toFloat32Array(),
      v: v.toFloat32Array(),
      outGradient: outGradient.toFloat32Array(),
    });
    for (const isa of isas) {
      useIsa(isa);
      const results = run(c, attentionOperands(c, dtype));
      [expected.out, expected.q, expected.k, expected.v].forEach((values, i) => {
        const actual = results[i]!;
        expect(actual.dtype).toBe(dtype);
        // Where a gradient vanishes (a token that sees itself only), against the unit size of the operands.
        const unit = values.every((x) => Math.abs(x) < 1e-9) ? [1] : [];
        const difference = relativeDifference([...actual.toFloat32Array(), ...unit], [...values, ...unit]);
        expect(difference, `${isa} ${dtype} ${["out", "dq", "dk", "dv"][i]}`).toBeLessThan(TOLERANCE[dtype]!);
      });
    }
  }
});

/** The composed reference: one row, segments of attention. */
function segmentedAttention(c: AttentionCase, q: Tensor, k: Tensor, v: Tensor): Tensor {
  const tokens = q.shape[0]!;
  const numbers = Int32Array.from(c.lengths.flatMap((length, s) => Array.from({ length }, () => s)));
  const segments = tensor(numbers, { shape: [1, tokens], dtype: "int32" });
  const batch = (x: Tensor): Tensor => transpose(unsqueeze(x, 0), 1, 2);
  const attended = scaledDotProductAttention(batch(q), batch(k), batch(v), {
    isCausal: c.isCausal,
    querySegments: segments,
    keySegments: segments,
    ...(c.window !== undefined && { window: c.window }),
    ...(c.softCap !== undefined && { softCap: c.softCap }),
  });
  return reshape(transpose(attended, 1, 2), q.shape);
}

const LONG: Record<string, AttentionCase> = {
  "one long sequence": { lengths: [ofLength(2500)], heads: 6, kvHeads: 2, dim: 64, isCausal: true },
  "one long sequence, all heads on one key head": {
    lengths: [ofLength(1300)],
    heads: 3,
    kvHeads: 1,
    dim: 64,
    isCausal: true,
  },
  "long and short": {
    lengths: [ofLength(1200), 3, ofLength(700), 1, 40],
    heads: 4,
    kvHeads: 4,
    dim: 32,
    isCausal: true,
  },
  "long with a window": {
    lengths: [ofLength(2400), 33],
    heads: 3,
    kvHeads: 1,
    dim: 48,
    isCausal: true,
    window: ofLength(500),
  },
  "long with a soft cap": { lengths: [ofLength(1200)], heads: 2, kvHeads: 1, dim: 64, isCausal: true, softCap: 30 },
};
test.each(Object.entries(LONG))("%s: equals the composed reference with segments", (_, c) => {
  for (const isa of onDevice ? [bestIsa] : new Set([bestIsa, "portable"])) {
    useIsa(isa);
    const operands = attentionOperands(c);
    const results = run(c, operands).map((x) => x.toFloat32Array());
    const { q, k, v, outGradient } = operands;
    for (const x of [q, k, v]) x.grad = undefined;
    const out = segmentedAttention(c, q, k, v);
    out.backward(outGradient);
    [out, q.grad!, k.grad!, v.grad!].forEach((expected, i) =>
      expect(relativeDifference(results[i]!, expected.toFloat32Array()), isa).toBeLessThan(5e-6),
    );
  }
});

test("gradients are those of finite differences", () => {
  const c: AttentionCase = { lengths: [3, 0, 7], heads: 4, kvHeads: 2, dim: 20, isCausal: true, softCap: 3, window: 5 };
  const operands = attentionOperands(c);
  const { outGradient, cuSeqlens } = operands;
  const [, ...gradients] = run(c, operands);
  const inputs = ["q", "k", "v"] as const;
  inputs.forEach((name, i) => {
    const values = operands[name].toFloat32Array();
    for (const at of [0, 37, 101, values.length - 1]) {
      const loss = (step: number): number => {
        const moved = Float32Array.from(values);
        moved[at]! += step;
        const changed = { ...operands, [name]: tensor(moved, { shape: operands[name].shape }) };
        const { isCausal, softCap, window } = c;
        return noGrad(() =>
          sum(
            mul(
              variableLengthAttention(changed.q, changed.k, changed.v, cuSeqlens, { isCausal, softCap, window }),
              outGradient,
            ),
          ).item(),
        );
      };
      const step = 0.01;
      expect((loss(step) - loss(-step)) / (2 * step)).toBeCloseTo(gradients[i]!.toFloat32Array()[at]!, 3);
    }
  });
});

test("the same bits with 1, 2, 3 and 5 threads, forward and backward", () => {
  const cases: AttentionCase[] = [
    { lengths: [ofLength(1900), 30, 1, ofLength(500)], heads: 3, kvHeads: 1, dim: 32, isCausal: true },
    { lengths: [ofLength(1300), ofLength(700)], heads: 6, kvHeads: 3, dim: 64, isCausal: true, window: ofLength(600) },
    { lengths: [ofLength(1500)], heads: 2, kvHeads: 2, dim: 16, isCausal: false },
  ];
  for (const isa of isas.slice(0, 3)) {
    useIsa(isa);
    for (const c of cases) {
      for (const dtype of ["float32", "bfloat16"] as DType[]) {
        const runs = (onDevice ? [1, 2] : [1, 2, 3, 5]).map((count) => {
          setNumThreads(count);
          return run(c, attentionOperands(c, dtype)).map((x) => Buffer.from(x.toBytes()).toString("base64"));
        });
        for (const other of runs.slice(1)) expect(other).toEqual(runs[0]);
      }
    }
  }
});

test("a sequence's result does not depend on its neighbours, not even on their NaN", () => {
  for (const isa of isas) {
    useIsa(isa);
    const c: AttentionCase = { lengths: [40, 33, 29], heads: 2, kvHeads: 1, dim: 32, isCausal: true };
    const operands = attentionOperands(c);
    const [q, k, v, outGradient] = [operands.q, operands.k, operands.v, operands.outGradient].map((x) => {
      const poisoned = tensor(x.toFloat32Array(), { shape: x.shape });
      for (const [first, end] of [
        [0, 40],
        [73, 102],
      ] as const)
        slice(poisoned, 0, first, end).copyFrom(tensor([NaN]));
      poisoned.requiresGrad = true;
      return poisoned;
    }) as [Tensor, Tensor, Tensor, Tensor];
    outGradient.requiresGrad = false;
    const poisoned = run(c, { q, k, v, outGradient, cuSeqlens: operands.cuSeqlens });
    const own = (x: Tensor): Float32Array => slice(x, 0, 40, 73).toFloat32Array();
    const alone = {
      q: tensor(own(operands.q), { shape: [33, 2, 32], requiresGrad: true }),
      k: tensor(own(operands.k), { shape: [33, 1, 32], requiresGrad: true }),
      v: tensor(own(operands.v), { shape: [33, 1, 32], requiresGrad: true }),
      outGradient: tensor(own(operands.outGradient), { shape: [33, 2, 32] }),
      cuSeqlens: cumulativeLengths([33]),
    };
    const results = run(c, alone);
    poisoned.forEach((x, i) => expect(own(x)).toEqual(results[i]!.toFloat32Array()));
    expect(poisoned[0]!.toFloat32Array()[0]).toBeNaN();
    expect(poisoned[1]!.toFloat32Array()[0]).toBeNaN();
  }
});

test("thousands of sequences, most of them of one token", () => {
  const lengths = Array.from({ length: ofLength(6000) }, (_, i) => (i % 97 === 0 ? 40 : i % 3 === 0 ? 0 : 1));
  const c: AttentionCase = { lengths, heads: 2, kvHeads: 1, dim: 16, isCausal: true };
  const operands = attentionOperands(c);
  const results = run(c, operands);
  const { q, k, v, outGradient } = operands;
  const values = { q: q.toFloat32Array(), k: k.toFloat32Array(), v: v.toFloat32Array() };
  const expected = referenceAttention(c, { ...values, outGradient: outGradient.toFloat32Array() });
  [expected.out, expected.q, expected.k, expected.v].forEach((x, i) =>
    expect(relativeDifference(results[i]!.toFloat32Array(), x)).toBeLessThan(3e-6),
  );
});

test("memory is linear in the tokens", () => {
  const bytes = [2000, 4000, 8000].map((tokens) => {
    const c: AttentionCase = { lengths: [tokens], heads: 1, kvHeads: 1, dim: 16, isCausal: true, window: 64 };
    return scope(() => {
      const operands = attentionOperands(c, "bfloat16");
      resetPeakMemory();
      const before = memoryStats().liveBytes;
      run(c, operands);
      const bytes = memoryStats().peakBytes - before;
      for (const x of [operands.q, operands.k, operands.v]) x.grad = undefined;
      return bytes;
    });
  });
  // Of a token: the result, three gradients and float32 sums of one of them, 16 numbers each; two statistics; what tiny blocks round up to.
  for (const [i, size] of bytes.entries())
    expect(size / [2000, 4000, 8000][i]!).toBeLessThan(16 * (2 * 5 + 4) + 2 * 4 + 64);
});

test("heads may be views of a fused projection, gradients any strides", () => {
  const c: AttentionCase = { lengths: [9, 14], heads: 4, kvHeads: 2, dim: 24, isCausal: true };
  const operands = attentionOperands(c);
  const plain = run(c, operands).map((x) => x.toFloat32Array());
  const fused = zeros([23, (4 + 2 + 2) * 24]);
  slice(fused, 1, 0, 96).copyFrom(reshape(operands.q.detach(), [23, 96]));
  slice(fused, 1, 96, 144).copyFrom(reshape(operands.k.detach(), [23, 48]));
  slice(fused, 1, 144, 192).copyFrom(reshape(operands.v.detach(), [23, 48]));
  fused.requiresGrad = true;
  const part = (first: number, heads: number): Tensor =>
    reshape(slice(fused, 1, first, first + heads * 24), [23, heads, 24]);
  const out = variableLengthAttention(part(0, 4), part(96, 2), part(144, 2), operands.cuSeqlens, { isCausal: true });
  const reversed = tensor(transpose(operands.outGradient, 1, 2).toFloat32Array(), { shape: [23, 24, 4] });
  out.backward(transpose(reversed, 1, 2));
  expect(out.toFloat32Array()).toEqual(plain[0]);
  expect(reshape(slice(fused.grad!, 1, 0, 96), [23, 4, 24]).toFloat32Array()).toEqual(plain[1]);
  expect(slice(fused.grad!, 1, 96, 144).toFloat32Array()).toEqual(plain[2]);
  expect(slice(fused.grad!, 1, 144, 192).toFloat32Array()).toEqual(plain[3]);
  // Numbers of a head that do not lie together are copied first.
  const apart = transpose(tensor(transpose(operands.q, 1, 2).toFloat32Array(), { shape: [23, 24, 4] }), 1, 2);
  const { k, v, cuSeqlens } = operands;
  expect(variableLengthAttention(apart, k, v, cuSeqlens, { isCausal: true }).toFloat32Array()).toEqual(plain[0]);
});

test("autocast rounds operands to bfloat16, gradients keep the operands' dtypes; dtypes may be mixed", () => {
  const c: AttentionCase = { lengths: [50, 20], heads: 2, kvHeads: 1, dim: 32, isCausal: true };
  const plain = run(c, attentionOperands(c)).map((x) => x.toFloat32Array());
  const wide = autocast("bfloat16", () => run(c, attentionOperands(c)));
  expect(wide.map(({ dtype }) => dtype)).toEqual(["bfloat16", "float32", "float32", "float32"]);
  wide.forEach((x, i) => expect(relativeDifference(x.toFloat32Array(), plain[i]!)).toBeLessThan(2e-2));
  const mixed = {
    ...attentionOperands(c),
    k: attentionOperands(c, "bfloat16").k,
    v: attentionOperands(c, "float16").v,
  };
  const results = run(c, mixed);
  expect(results.map(({ dtype }) => dtype)).toEqual(["float32", "float32", "bfloat16", "float16"]);
  results.forEach((x, i) => expect(relativeDifference(x.toFloat32Array(), plain[i]!)).toBeLessThan(2e-2));
});

test("gradient checkpointing gives the same gradients, and nothing is kept where none is needed", () => {
  const c: AttentionCase = { lengths: [12, 30], heads: 2, kvHeads: 1, dim: 16, isCausal: true };
  const plain = run(c, attentionOperands(c)).map((x) => x.toFloat32Array());
  const { q, k, v, cuSeqlens, outGradient } = attentionOperands(c);
  const out = checkpoint((a, b, d) => variableLengthAttention(a, b, d, cuSeqlens, { isCausal: true }), q, k, v);
  out.backward(outGradient);
  [out, q.grad!, k.grad!, v.grad!].forEach((x, i) => expect(x.toFloat32Array()).toEqual(plain[i]));
  const { liveTensors } = memoryStats();
  noGrad(() => variableLengthAttention(q, k, v, cuSeqlens).dispose());
  expect(memoryStats().liveTensors).toBe(liveTensors);
});

test("a gradient that only some operands need", () => {
  const c: AttentionCase = { lengths: [12, 30], heads: 2, kvHeads: 1, dim: 16, isCausal: true };
  const plain = run(c, attentionOperands(c)).map((x) => x.toFloat32Array());
  const { q, k, v, cuSeqlens, outGradient } = attentionOperands(c);
  q.requiresGrad = v.requiresGrad = false;
  const out = variableLengthAttention(q, add(k, 0), v, cuSeqlens, { isCausal: true });
  out.backward(outGradient);
  expect(k.grad?.toFloat32Array()).toEqual(plain[2]);
  expect(q.grad).toBeUndefined();
});

describe("what does not fit is refused with a message", () => {
  const q = zeros([6, 4, 16]);
  const k = zeros([6, 2, 16]);
  const cu = cumulativeLengths([2, 4]);
  const attend = (a: Tensor, b: Tensor, c: Tensor, bounds: Tensor, options = {}): (() => Tensor) => {
    return () => {
      const out = variableLengthAttention(a, b, c, bounds, options);
      out.toFloat32Array(); // what a device finds wrong in cuSeqlens is known when something waits for it
      return out;
    };
  };
  const int32 = (values: number[]): Tensor => tensor(Int32Array.from(values), { dtype: "int32" });
  test.each<[string, () => Tensor, string]>([
    [
      "dimensions",
      attend(zeros([6, 16]), k, k, cu),
      "expected q as floating [tokens, heads, head_dim], found float32 [6, 16]",
    ],
    ["dimensions of k", attend(q, zeros([6, 32]), k, cu), "expected k as [tokens, heads, head_dim], found [6, 32]"],
    ["tokens", attend(q, zeros([5, 2, 16]), zeros([5, 2, 16]), cu), "do not fit together"],
    ["head dimensions", attend(q, k, zeros([6, 2, 8]), cu), "do not fit together"],
    ["uneven groups", attend(q, zeros([6, 3, 16]), zeros([6, 3, 16]), cu), "4 query heads cannot share 3"],
    ["no heads", attend(zeros([6, 0, 16]), zeros([6, 0, 16]), zeros([6, 0, 16]), cu), "0 query heads"],
    ["large heads", attend(zeros([6, 1, 264]), zeros([6, 1, 264]), zeros([6, 1, 264]), cu), "from 1 to 256, found 264"],
    ["integers", attend(zeros([6, 4, 16], { dtype: "int32" }), k, k, cu), "found int32"],
    ["dtype of cuSeqlens", attend(q, k, k, zeros([3])), "expected cuSeqlens as contiguous int32 [sequences + 1]"],
    ["shape of cuSeqlens", attend(q, k, k, zeros([1, 3], { dtype: "int32" })), "found int32 [1, 3]"],
    ["empty cuSeqlens", attend(q, k, k, zeros([0], { dtype: "int32" })), "found int32 [0]"],
    [
      "start of cuSeqlens",
      attend(q, k, k, int32([1, 6])),
      "cuSeqlens must rise from 0 to the number of tokens, 6, found 1 at 0",
    ],
    [
      "falling cuSeqlens",
      attend(q, k, k, int32([0, 4, 2, 6])),
      "cuSeqlens must rise from 0 to the number of tokens, 6, found 2 at 2",
    ],
    [
      "end of cuSeqlens",
      attend(q, k, k, int32([0, 4])),
      "cuSeqlens must rise from 0 to the number of tokens, 6, found 4 at 1",
    ],
    ["window", attend(q, k, k, cu, { window: 0 }), "the window must be a positive integer, found 0"],
    ["fraction of a window", attend(q, k, k, cu, { window: 1.5 }), "found 1.5"],
    ["soft cap", attend(q, k, k, cu, { softCap: -1 }), "the soft cap must be positive, found -1"],
    ["infinite soft cap", attend(q, k, k, cu, { softCap: Infinity }), "expected a soft cap that is positive"],
    ["scale", attend(q, k, k, cu, { scale: -0.1 }), "expected a scale between 1e-12 and 1e6, found -0.1"],
    ["scale that is no number", attend(q, k, k, cu, { scale: NaN }), "expected a scale"],
  ])("%s", (_, body, message) => {
    expect(body).toThrow(TensorError);
    expect(body).toThrow(message);
  });

  test("disposed tensors", () => {
    const gone = zeros([6, 4, 16]);
    gone.dispose();
    expect(attend(gone, k, k, cu)).toThrow("was disposed");
  });

  test("arguments of the addon itself", () => {
    const addon = nativeAddon() as unknown as Record<string, (...values: unknown[]) => unknown>;
    const settings = [1, 0, true, 0, false, "float32"];
    const forward = (...values: unknown[]) => addon["variableLengthAttention"]!(...values);
    expect(() => forward()).toThrow("expected q as a number");
    expect(() => forward(-1, k.handle, k.handle, cu.handle, ...settings)).toThrow("expected q as a tensor's handle");
    expect(() => forward(2 ** 52, k.handle, k.handle, cu.handle, ...settings)).toThrow("was disposed");
    const handles = [q.handle, k.handle, k.handle, cu.handle];
    expect(() => forward(...handles, 1, 0, 1, 0, false, "float32")).toThrow("expected isCausal as true or false");
    expect(() => forward(...handles, 1, 0, true, 1e300, false, "float32")).toThrow("expected the window as a whole");
    expect(() => forward(...handles, 1, 0, true, 0, false, "int32")).toThrow("expected the result's dtype");
    const backward = (...values: unknown[]) =>
      addon["variableLengthAttentionGradients"]!(...handles, ...values, ...settings);
    expect(() => backward(q.handle, q.handle, q.handle)).toThrow("expected the log-sum-exp of the forward pass");
    expect(() => backward(k.handle, q.handle, q.handle)).toThrow("expected the result of shape [6, 4, 16]");
    expect(() => backward(q.handle, q.handle, k.handle)).toThrow("expected the gradient of shape [6, 4, 16]");
  });
});
