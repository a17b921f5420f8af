import {
  expectClose,
  fixturePath,
  readJsonFixture,
  readSafetensors,
  type ReferenceTensor,
} from "@fms-accel/test-utilities";
import { describe, expect, test } from "vitest";
import { AdamW, Parameter, tensor, Tensor, TensorError, zeros } from "../src/index.ts";
import { randomNumbers } from "./support/random-tensor.ts";

interface Setting {
  lr: number;
  betas: [number, number];
  eps: number;
  weight_decay: number;
}
const { settings } = readJsonFixture<{ settings: Setting[] }>("adamw.json");
const reference = readSafetensors(fixturePath("adamw.safetensors"));
const NAMES = ["matrix", "vector", "cube"];
const STEPS = 10;

function of(name: string): ReferenceTensor {
  const found = reference.get(name);
  if (found === undefined) throw new Error(`the fixture has no ${name}`);
  return found;
}

// Step `index` of a recorded series.
function at(name: string, index: number): Tensor {
  const { shape, data } = of(name);
  const size = data.length / (shape[0] as number);
  return tensor(Float32Array.from(data.subarray(index * size, (index + 1) * size)), { shape: shape.slice(1) });
}

function start(): Parameter[] {
  return NAMES.map((name) => {
    const { shape, data } = of(`start.${name}`);
    return new Parameter(tensor(data, { shape }));
  });
}

function setGradients(params: readonly Parameter[], step: number): void {
  params.forEach((param, i) => (param.grad = at(`grads.${NAMES[i]}`, step)));
}

function parameter(
  values: number[],
  gradient: number[] | undefined,
  dtype: "float32" | "bfloat16" | "float16" = "float32",
): Parameter {
  const param = new Parameter(tensor(values, { dtype }));
  if (gradient !== undefined) param.grad = tensor(gradient, { dtype });
  return param;
}

describe("AdamW against torch.optim.AdamW", () => {
  test.each(settings.map((setting, index) => ({ ...setting, index })))(
    "lr $lr, betas $betas, eps $eps, weight decay $weight_decay",
    ({ index, lr, betas, eps, weight_decay: weightDecay }) => {
      const params = start();
      const optimizer = new AdamW([{ params, weightDecay }], { lr, betas, eps });
      for (let step = 0; step < STEPS; step++) {
        setGradients(params, step);
        optimizer.step();
        params.forEach((param, i) => {
          const expected = at(`${index}.params.${NAMES[i]}`, step).toFloat32Array();
          expectClose(
            param.toFloat32Array(),
            expected,
            { absolute: 2e-7, relative: 2e-7 },
            `step ${step}, ${NAMES[i]}`,
          );
        });
      }
      const state = optimizer.stateDict();
      // Averages of gradients of about 1 cancel, so what is left carries the rounding of a number of about 1.
      NAMES.forEach((name, i) => {
        for (const key of ["exp_avg", "exp_avg_sq"] as const) {
          expectClose(
            state.get(i)?.[key].toFloat32Array() ?? [],
            of(`${index}.${key}.${name}`).data,
            { relative: 1e-6, absolute: 6e-8 },
            key,
          );
        }
        expect(state.get(i)?.step).toBe(STEPS);
      });
    },
  );
});

test("two groups: own weight decay and learning rate, and a learning rate that is set per step", () => {
  const lrs = [0.1, 0.05, 0];
  const values = [1, -2, 3];
  const gradients = [0.5, 0.25, -1];
  const groups = [
    { params: [parameter(values, gradients)], weightDecay: 0.1 },
    { params: [parameter(values, gradients)], weightDecay: 0, lr: 0.02 },
  ];
  const optimizer = new AdamW(groups);
  const expected = groups.map(() => values.map((p) => ({ p, m: 0, v: 0 })));
  lrs.forEach((lr, index) => {
    optimizer.lr = lr;
    optimizer.step();
    const t = index + 1;
    groups.forEach((group, g) =>
      expected[g]?.forEach((x, i) => {
        const grad = gradients[i] as number;
        const rate = group.lr ?? lr;
        x.m = 0.9 * x.m + 0.1 * grad;
        x.v = 0.999 * x.v + 0.001 * grad ** 2;
        x.p *= 1 - rate * group.weightDecay;
        x.p -= ((rate / (1 - 0.9 ** t)) * x.m) / (Math.sqrt(x.v / (1 - 0.999 ** t)) + 1e-8);
      }),
    );
  });
  groups.forEach((group, g) => {
    expectClose(group.params[0]?.toArray() ?? [], expected[g]?.map(({ p }) => p) ?? [], { relative: 1e-6 });
  });
});

test.each(["bfloat16", "float16"] as const)("a %s parameter is computed in float32 and rounded once", (dtype) => {
  const values = Array.from(randomNumbers(2000, 3));
  const gradients = Array.from(randomNumbers(2000, 4));
  const narrow = parameter(values, gradients, dtype);
  // The same numbers after rounding to the narrow dtype.
  const wide = parameter(narrow.toArray(), (narrow.grad as Tensor).toArray());
  new AdamW([{ params: [narrow], weightDecay: 0.1 }], { lr: 0.01 }).step();
  new AdamW([{ params: [wide], weightDecay: 0.1 }], { lr: 0.01 }).step();
  expect(narrow.dtype).toBe(dtype);
  expect(narrow.toArray()).toEqual(tensor(wide.toFloat32Array(), { dtype }).toArray());
});

test("a parameter without a gradient does not move and does not count the step", () => {
  const moved = parameter([1, 2], [1, 1]);
  const left = parameter([3, 4], undefined);
  const optimizer = new AdamW([{ params: [left, moved] }]);
  optimizer.step();
  left.grad = tensor([1, 1]);
  optimizer.step();
  expect([...optimizer.stateDict()].map(([index, { step }]) => [index, step])).toEqual([
    [0, 1],
    [1, 2],
  ]);
});

test("a run that is saved and resumed gives the same bits", () => {
  const straight = start();
  const first = start();
  const options = { lr: 0.01 };
  const optimizer = new AdamW([{ params: straight }], options);
  const before = new AdamW([{ params: first }], options);
  for (let step = 0; step < 4; step++) {
    setGradients(straight, step);
    optimizer.step();
    setGradients(first, step);
    before.step();
  }
  const second = first.map((param) => new Parameter(param));
  const after = new AdamW([{ params: second }], options);
  after.loadStateDict(before.stateDict());
  for (let step = 4; step < STEPS; step++) {
    setGradients(straight, step);
    optimizer.step();
    setGradients(second, step);
    after.step();
  }
  expect(second.map((param) => param.toArray())).toEqual(straight.map((param) => param.toArray()));
});

test("loading a state replaces the whole state", () => {
  const params = [parameter([1], [1]), parameter([2], [1])];
  const optimizer = new AdamW([{ params }]);
  optimizer.step();
  optimizer.loadStateDict(new Map([[1, { step: 7, exp_avg: tensor([0.5]), exp_avg_sq: tensor([0.25]) }]]));
  const state = optimizer.stateDict();
  expect([...state.keys()]).toEqual([1]);
  expect(state.get(1)?.step).toBe(7);
  expect(state.get(1)?.exp_avg.item()).toBe(0.5);
  expect(state.get(1)?.exp_avg_sq.item()).toBe(0.25);
});

test("zeroGrad drops the gradients, dispose the state", () => {
  const param = parameter([1], [1]);
  const gradient = param.grad as Tensor;
  const optimizer = new AdamW([{ params: [param] }]);
  optimizer.step();
  const state = optimizer.stateDict().get(0);
  optimizer.zeroGrad();
  expect(param.grad).toBeUndefined();
  expect(gradient.isDisposed).toBe(true);
  optimizer.dispose();
  expect(state?.exp_avg.isDisposed).toBe(true);
  expect(optimizer.stateDict().size).toBe(0);
});

test("wrong settings and states are errors", () => {
  const param = parameter([1, 2], [1, 1]);
  expect(() => new AdamW([{ params: [param] }], { betas: [0.9, 1] })).toThrow(TensorError);
  expect(() => new AdamW([{ params: [param] }], { eps: -1 })).toThrow(/eps -1 is negative/);
  expect(() => new AdamW([{ params: [param] }, { params: [param] }])).toThrow(/stands twice/);
  const optimizer = new AdamW([{ params: [param] }]);
  const state = (shape: number[], step = 1) => ({ step, exp_avg: zeros(shape), exp_avg_sq: zeros(shape) });
  expect(() => optimizer.loadStateDict(new Map([[1, state([2])]]))).toThrow(/there are 1 parameters/);
  expect(() => optimizer.loadStateDict(new Map([[0, state([3])]]))).toThrow(/shape \[3\], expected \[2\]/);
  expect(() => optimizer.loadStateDict(new Map([[0, state([2], 0.5)]]))).toThrow(/step 0.5/);
  param.grad = zeros([3]);
  expect(() => optimizer.step()).toThrow(/parameter 0 has shape \[2\]/);
});

test("a state is given back parameter by parameter, when it was copied", () => {
  const params = [parameter([1, 2], [2, 1]), parameter([3], [1]), parameter([4], [1])];
  const before = new AdamW([{ params }]);
  before.step();
  const optimizer = new AdamW([{ params }]);
  const copied: number[] = [];
  const saved = new Map(
    [...before.stateDict()].map(([index, { step, exp_avg: average, exp_avg_sq: square }]) => {
      const copy = { step, exp_avg: tensor(average.toFloat32Array()), exp_avg_sq: tensor(square.toFloat32Array()) };
      return [index, copy] as const;
    }),
  );
  optimizer.loadStateDict(saved, (state) => {
    copied.push(optimizer.stateDict().size);
    state.exp_avg.dispose();
    state.exp_avg_sq.dispose();
  });
  expect(copied).toEqual([1, 2, 3]);
  for (const [index, { exp_avg: average }] of before.stateDict())
    expect(optimizer.stateDict().get(index)?.exp_avg.toArray()).toEqual(average.toArray());
});
