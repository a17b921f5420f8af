import { expect, test as vitestTest } from "vitest";
import {
  add,
  cat,
  checkpoint,
  defaultGenerator,
  dropout,
  isGradEnabled,
  keep,
  linear,
  lowRankLinear,
  manualSeed,
  matmul,
  memoryStats,
  mul,
  noGrad,
  relu,
  reshape,
  scope,
  slice,
  split,
  sub,
  sum,
  tanh,
  type Tensor,
  tensor,
  TensorError,
  transpose,
  zeros,
} from "../src/index.ts";
import { randomTensor } from "./support/random-tensor.ts";

// Every test runs in a scope: tensors that no scope owns are freed whenever JavaScript collects them, which would disturb the counts.
const test = (name: string, body: () => void): void => vitestTest(name, () => scope(body));

const leaf = (...values: number[]): Tensor => tensor(values, { requiresGrad: true });

// ---- Tape ----------------------------------------------------------------------------------------------------------------------

test("gradients of a tensor that is used many times add up", () => {
  const x = leaf(1, 2, 3);
  sum(add(add(mul(x, x), x), mul(x, 3))).backward();
  expect(x.grad?.toArray()).toEqual([6, 8, 10]);
});

// Branches of h [2, 3, 8], each with a different way for its gradient to reach h.
const BRANCHES: readonly ((h: Tensor) => Tensor)[] = [
  (h) => linear(h, fixed(1, [8, 8])),
  (h) => reshape(linear(reshape(h, [6, 8]), fixed(2, [8, 8])), [2, 3, 8]),
  (h) => lowRankLinear(h, fixed(3, [8, 8]), fixed(4, [2, 8]), fixed(5, [8, 2]), 0.5),
  (h) =>
    reshape(lowRankLinear(reshape(h, [3, 2, 8]), fixed(6, [7, 8]), fixed(7, [2, 8]), fixed(8, [7, 2]), 2), [2, 3, 7]),
  (h) => h, // whose gradient is the sum's own, seen by others too
  (h) => reshape(linear(reshape(h, [12, 4]), fixed(9, [4, 4])), [2, 3, 8]),
  (h) => transpose(linear(transpose(h, 1, 2), fixed(10, [3, 3])), 1, 2),
];
const fixed = (seed: number, shape: number[]): Tensor => randomTensor(shape, { seed });

test("linear layers add to what others gave their input, in any order and behind reshapes", () => {
  const values = randomTensor([2, 3, 8], { seed: 11 });
  const gradient = (branches: typeof BRANCHES): number[] => {
    const x = values.copy();
    x.requiresGrad = true;
    const h = mul(x, 1);
    const parts = branches.map((branch) => branch(h));
    parts
      .map((part) => sum(mul(part, add(part, 1))))
      .reduce((a, b) => add(a, b))
      .backward();
    return x.grad?.toArray() as number[];
  };
  const alone = BRANCHES.map((branch) => gradient([branch]));
  for (let first = 0; first < BRANCHES.length; first++) {
    const order = BRANCHES.map((_, i) => (first + i) % BRANCHES.length);
    const together = gradient(order.map((i) => BRANCHES[i] as (h: Tensor) => Tensor));
    together.forEach((value, at) => {
      const expected = alone.reduce((total, part) => total + (part[at] as number), 0);
      expect(Math.abs(value - expected)).toBeLessThan(1e-5 * Math.max(1, Math.abs(expected)));
    });
  }
});

test("a gradient that others see is not added to in place", () => {
  const [x, y] = [randomTensor([2, 8], { seed: 1 }), randomTensor([2, 8], { seed: 2 })];
  for (const input of [x, y]) input.requiresGrad = true;
  const [weight, factors] = [fixed(3, [8, 8]), fixed(4, [2, 8])];
  const [h, other] = [mul(x, 1), mul(y, 1)];
  // The sums hand one tensor to h, to the other operand and to the layer's result.
  sum(mul(add(linear(h, weight), add(h, other)), factors)).backward();
  expect(y.grad?.toArray()).toEqual(factors.toArray());
  expect(x.grad?.toArray()).toEqual(add(factors, matmul(factors, weight)).toArray());
});

test("pieces of a split, empty and unused ones too, give one gradient", () => {
  const x = tensor(
    [
      [1, 2, 3],
      [4, 5, 6],
    ],
    { requiresGrad: true },
  );
  const [first, empty, last] = split(x, [1, 0, 2], 1) as [Tensor, Tensor, Tensor];
  add(sum(mul(last, last)), sum(empty)).backward();
  expect([first.shape, empty.shape, last.shape]).toEqual([
    [2, 1],
    [2, 0],
    [2, 2],
  ]);
  expect(x.grad?.toArray()).toEqual([0, 4, 6, 0, 10, 12]);
});

test("a tensor without elements splits along another dimension", () => {
  const x = zeros([0, 4], { requiresGrad: true });
  const [left, right] = split(x, 2, 1) as [Tensor, Tensor];
  expect([left.shape, right.shape, slice(x, 1, 3).shape]).toEqual([
    [0, 2],
    [0, 2],
    [0, 1],
  ]);
  sum(mul(left, right)).backward();
  expect(x.grad?.shape).toEqual([0, 4]);
});

test("two backward calls accumulate into grad", () => {
  const x = leaf(1, 2);
  sum(mul(x, 2)).backward();
  sum(mul(x, 3)).backward();
  expect(x.grad?.toArray()).toEqual([5, 5]);
});

test("a gradient that is handed on is never shared between leaves", () => {
  const [a, b] = [leaf(1, 2), leaf(3, 4)];
  sum(add(a, b)).backward();
  sum(add(a, a)).backward();
  expect(a.grad?.toArray()).toEqual([3, 3]);
  expect(b.grad?.toArray()).toEqual([1, 1]);
});

test("a seed gradient belongs to the caller and is not changed", () => {
  const [a, b] = [leaf(1, 2), leaf(3, 4)];
  const seed = tensor([10, 20]);
  add(a, b).backward(seed);
  add(a, b).backward(seed);
  expect(seed.toArray()).toEqual([10, 20]);
  expect(a.grad?.toArray()).toEqual([20, 40]);
});

test("only part of an operation's outputs is used", () => {
  const x = leaf(1, 2, 3, 4);
  const [, last] = split(x, [1, 3], 0) as [Tensor, Tensor];
  sum(mul(last, last)).backward();
  expect(x.grad?.toArray()).toEqual([0, 4, 6, 8]);
});

test("backward is refused where it makes no sense", () => {
  const x = leaf(1, 2);
  expect(() => x.backward()).toThrow("called on a leaf");
  expect(() => tensor([1]).backward()).toThrow("does not depend on");
  expect(() => mul(x, 2).backward()).toThrow("needs a gradient argument");
  expect(() => mul(x, 2).backward(tensor([1, 2, 3]))).toThrow(TensorError);
  const y = sum(mul(x, x));
  y.backward();
  expect(() => y.backward()).toThrow("already used");
});

test("noGrad records nothing", () => {
  const x = leaf(1, 2);
  const y = noGrad(() => {
    expect(isGradEnabled()).toBe(false);
    return mul(x, x);
  });
  expect(y.requiresGrad).toBe(false);
  expect(isGradEnabled()).toBe(true);
});

// ---- Scopes --------------------------------------------------------------------------------------------------------------------

test("a scope frees what it does not return; lists and objects count", () => {
  const before = memoryStats().liveTensors;
  const { y, list } = scope(() => {
    const x = tensor([1, 2, 3]);
    const unused = mul(x, 2);
    mul(unused, 3);
    return { y: add(x, 1), list: [sub(x, 1)] };
  });
  expect(memoryStats().liveTensors).toBe(before + 2);
  expect(y.toArray()).toEqual([2, 3, 4]);
  expect(list[0]?.toArray()).toEqual([0, 1, 2]);
  y.dispose();
  list[0]?.dispose();
  expect(memoryStats().liveTensors).toBe(before);
});

test("a scope frees when its body throws", () => {
  const before = memoryStats().liveTensors;
  expect(() =>
    scope(() => {
      mul(tensor([1]), 2);
      throw new Error("stop");
    }),
  ).toThrow("stop");
  expect(memoryStats().liveTensors).toBe(before);
});

test("the tape keeps what backward needs beyond its scope, and frees it afterwards", () => {
  const x = leaf(2, 3);
  const before = memoryStats().liveTensors;
  const loss = scope(() => sum(mul(tanh(x), tanh(x))));
  expect(memoryStats().liveTensors).toBeGreaterThan(before + 1);
  loss.backward();
  loss.dispose();
  expect(memoryStats().liveTensors).toBe(before + 1); // x.grad
  expect((x.grad as Tensor).toArray()[0]).toBeCloseTo(2 * Math.tanh(2) * (1 - Math.tanh(2) ** 2), 6);
});

test("a forward pass whose result is dropped frees its tape", () => {
  const x = leaf(2, 3);
  const before = memoryStats().liveTensors;
  scope(() => {
    sum(mul(tanh(x), relu(x)));
  });
  expect(memoryStats().liveTensors).toBe(before);
});

test("200 training steps leave memory as they found it", () => {
  const w = randomTensor([8, 8], { requiresGrad: true });
  const x = randomTensor([4, 8], { seed: 2 });
  const step = (): void =>
    scope(() => {
      sum(tanh(matmul(x, w))).backward();
      w.grad?.dispose();
      w.grad = undefined;
    });
  step();
  const before = memoryStats();
  for (let i = 0; i < 200; i++) step();
  expect(memoryStats().liveTensors).toBe(before.liveTensors);
  expect(memoryStats().liveBytes).toBe(before.liveBytes);
});

test("keep takes a tensor out of its scope; using disposes at the end of a block", () => {
  const kept = scope(() => {
    const x = keep(tensor([7]));
    return { value: x.item(), x };
  }).x;
  expect(kept.item()).toBe(7);
  kept.dispose();
  expect(kept.isDisposed).toBe(true);
  expect(() => kept.item()).toThrow("was disposed");
  expect(() => add(kept, 1)).toThrow(TensorError);
  kept.dispose(); // once more is harmless
});

test("an asynchronous scope is refused", () => {
  expect(() => scope(async () => Promise.resolve(1))).toThrow("must be synchronous");
});

// ---- Checkpointing -------------------------------------------------------------------------------------------------------------

type Body = (x: Tensor) => Tensor;
type Call = (body: Body, x: Tensor) => Tensor;
const plainly: Call = (body, x) => body(x);
const checkpointed: Call = (body, x) => checkpoint(body, x);

function gradientsOfClosure(call: Call): (number[] | undefined)[] {
  const x = leaf(0.5, -1, 2);
  const w = leaf(3, 4, 5);
  const y = scope(() => call((input) => tanh(mul(mul(input, w), 0.1)), mul(x, 2)));
  sum(mul(y, y)).backward();
  return [x.grad?.toArray(), w.grad?.toArray()];
}

test("checkpoint gives the gradients of a plain call, also of what the body closes over", () => {
  const plain = gradientsOfClosure(plainly);
  expect(gradientsOfClosure(checkpointed)).toEqual(plain);
  expect(plain[1]).toHaveLength(3);
});

test("checkpoint keeps no intermediate tensors", () => {
  const x = leaf(1, 2);
  const before = memoryStats().liveTensors;
  const y = scope(() => checkpoint((input) => tanh(tanh(tanh(tanh(input)))), x));
  expect(memoryStats().liveTensors).toBe(before + 1);
  sum(y).backward();
});

test("a checkpoint's backward leaves nothing behind but the gradients of leaves", () => {
  const w = randomTensor([5], { requiresGrad: true });
  const run = (): void => {
    scope(() => {
      const x = mul(w, w);
      sum(checkpoint((input) => tanh(mul(input, input)), x)).backward();
    });
  };
  run();
  const before = memoryStats().liveTensors;
  run();
  expect(memoryStats().liveTensors).toBe(before);
});

test("checkpoint with several outputs, and one within another", () => {
  const x = leaf(1, 2, 3, 4);
  const [a, b] = checkpoint<[Tensor, Tensor]>((input) => {
    const inner = checkpoint((z) => mul(z, z), input);
    return [slice(inner, 0, 0, 2), slice(inner, 0, 2, 4)];
  }, x);
  sum(cat([a, mul(b, 3)], 0)).backward();
  expect(x.grad?.toArray()).toEqual([2, 4, 18, 24]);
});

test("a checkpoint without anything to differentiate records nothing", () => {
  const y = checkpoint((x) => mul(x, 2), tensor([1, 2]));
  expect(y.requiresGrad).toBe(false);
});

function resultsWithDropout(call: Call): unknown {
  manualSeed(7);
  const x = randomTensor([64], { requiresGrad: true });
  const y = call((input) => dropout(mul(input, 2), 0.5), x);
  sum(mul(y, y)).backward();
  return [y.toArray(), x.grad?.toArray(), defaultGenerator.state()];
}

test("dropout masks repeat in the second forward pass, and the generator goes on as if there was none", () => {
  expect(resultsWithDropout(checkpointed)).toEqual(resultsWithDropout(plainly));
});
