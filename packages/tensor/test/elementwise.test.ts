import { expectClose } from "@fms-accel/test-utilities";
import { describe, expect, test } from "vitest";
import {
  abs,
  add,
  cast,
  clamp,
  cos,
  defaultDevice,
  div,
  type DType,
  empty,
  eq,
  erf,
  exp,
  expand,
  ge,
  gelu,
  gt,
  le,
  log,
  logicalAnd,
  logicalNot,
  logicalOr,
  lt,
  maximum,
  minimum,
  mul,
  ne,
  neg,
  pow,
  reciprocal,
  relu,
  rsqrt,
  sigmoid,
  silu,
  slice,
  sin,
  sqrt,
  square,
  sub,
  sum,
  tanh,
  tensor,
  type Tensor,
  TensorError,
  where,
  zeros,
} from "../src/index.ts";
import { checkOperation, FLOATING } from "./support/check-gradients.ts";
import { mapped, randomArray, zipped } from "./support/double-array.ts";
import { erf as exactErf, sigmoid as exactSigmoid, unitsInLastPlace } from "./support/special-functions.ts";

const SHAPES = [[], [1], [3], [5, 123], [2, 3, 4]];

// Odd functions of the tests use values away from 0, where |x| and relu have no derivative.
const apart = (x: number): number => (Math.abs(x) < 0.05 ? x + 0.1 : x);

interface UnaryCase {
  op: (x: Tensor) => Tensor;
  reference: (x: number) => number;
  low?: number;
  high?: number;
}
const UNARY: Record<string, UnaryCase> = {
  neg: { op: neg, reference: (x) => -x },
  abs: { op: abs, reference: Math.abs },
  exp: { op: exp, reference: Math.exp },
  log: { op: log, reference: Math.log, low: 0.1, high: 9 },
  sqrt: { op: sqrt, reference: Math.sqrt, low: 0.1, high: 9 },
  rsqrt: { op: rsqrt, reference: (x) => 1 / Math.sqrt(x), low: 0.2, high: 9 },
  square: { op: square, reference: (x) => x * x },
  reciprocal: { op: reciprocal, reference: (x) => 1 / x, low: 0.2, high: 4 },
  sin: { op: sin, reference: Math.sin, low: -7, high: 7 },
  cos: { op: cos, reference: Math.cos, low: -7, high: 7 },
  sigmoid: { op: sigmoid, reference: exactSigmoid, low: -5, high: 5 },
  tanh: { op: tanh, reference: Math.tanh, low: -3, high: 3 },
  silu: { op: silu, reference: (x) => x * exactSigmoid(x), low: -5, high: 5 },
  relu: { op: relu, reference: (x) => Math.max(x, 0) },
  "gelu by erf": { op: (x) => gelu(x), reference: (x) => 0.5 * x * (1 + exactErf(x / Math.SQRT2)), low: -4, high: 4 },
  "gelu by tanh": {
    op: (x) => gelu(x, "tanh"),
    reference: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
    low: -4,
    high: 4,
  },
  erf: { op: erf, reference: exactErf, low: -3, high: 3 },
  "pow 3": { op: (x) => pow(x, 3), reference: (x) => x ** 3, low: -2, high: 2 },
  "pow -0.5": { op: (x) => pow(x, -0.5), reference: (x) => x ** -0.5, low: 0.2, high: 4 },
  clamp: { op: (x) => clamp(x, -0.5, 0.25), reference: (x) => Math.min(Math.max(x, -0.5), 0.25) },
  "clamp from below": { op: (x) => clamp(x, 0), reference: (x) => Math.max(x, 0) },
  "plus a number": { op: (x) => add(x, 2.5), reference: (x) => x + 2.5 },
  "minus a number": { op: (x) => sub(x, 2.5), reference: (x) => x - 2.5 },
  "times a number": { op: (x) => mul(x, -3), reference: (x) => x * -3 },
  "divided by a number": { op: (x) => div(x, 4), reference: (x) => x / 4 },
};

describe.each(Object.entries(UNARY))("%s", (_, { op, reference, low = -1, high = 1 }) => {
  test.each(SHAPES.map((shape) => [shape]))("shape %j: values and gradient in every dtype and layout", (shape) => {
    const inputs = [randomArray(shape, { low, high })];
    if (low < 0) inputs[0]?.data.forEach((x, i, data) => (data[i] = apart(x)));
    checkOperation({ op, reference: mapped(reference), inputs });
  });
  test("no elements", () => {
    for (const dtype of FLOATING) expect(op(empty([0, 4], { dtype })).shape).toEqual([0, 4]);
  });
});

type BinaryCase = [op: (x: Tensor, y: Tensor) => Tensor, reference: (x: number, y: number) => number];
const BINARY: Record<string, BinaryCase> = {
  add: [add, (x, y) => x + y],
  sub: [sub, (x, y) => x - y],
  mul: [mul, (x, y) => x * y],
  div: [div, (x, y) => x / y],
  maximum: [maximum, Math.max],
  minimum: [minimum, Math.min],
};
const BROADCASTS: [number[], number[]][] = [
  [[], []],
  [[7], [7]],
  [
    [5, 23],
    [5, 23],
  ],
  [[5, 13], [13]],
  [[13], [5, 13]],
  [
    [5, 1],
    [1, 13],
  ],
  [
    [2, 1, 4],
    [3, 1],
  ],
  [[2, 3], []],
];

describe.each(Object.entries(BINARY))("%s", (_, [op, reference]) => {
  test.each(BROADCASTS)("shapes %j and %j: values and both gradients in every dtype and layout", (a, b) => {
    const inputs = [randomArray(a, { low: 0.3, high: 2 }), randomArray(b, { seed: 2, low: 0.3, high: 2 })];
    checkOperation({
      op,
      reference: zipped(reference),
      inputs,
      gradientRoundings: 32,
    });
  });
  test("no elements", () => expect(op(zeros([0, 3]), zeros([3])).shape).toEqual([0, 3]));
  test("shapes that do not broadcast", () => {
    expect(() => op(zeros([2, 3]), zeros([2, 4]))).toThrow(TensorError);
    expect(() => op(zeros([2, 3]), zeros([2, 4]))).toThrow(/\[2, 3\] and \[2, 4\] do not broadcast/);
  });
});

test("an operand that is expanded gets the summed gradient", () => {
  const x = tensor([1, 2], { requiresGrad: true });
  sum(mul(expand(x, [3, 2]), tensor([1, 2, 3, 4, 5, 6], { shape: [3, 2] }))).backward();
  expect(x.grad?.toArray()).toEqual([9, 12]);
});

test("equal operands of maximum and minimum share the gradient", () => {
  for (const op of [maximum, minimum]) {
    const x = tensor([1, 2, 3], { requiresGrad: true });
    const y = tensor([1, 5, 0], { requiresGrad: true });
    sum(op(x, y)).backward();
    expect(x.grad?.toArray()[0]).toBe(0.5);
    expect(y.grad?.toArray()[0]).toBe(0.5);
    expect(add(x.grad as Tensor, y.grad as Tensor).toArray()).toEqual([1, 1, 1]);
  }
});

// ---- Numbers at the edges ------------------------------------------------------------------------------------------------------

interface AccurateFunction {
  op: (x: Tensor) => Tensor;
  exact: (x: number) => number;
  /** Largest error of the CPU's kernels, and of CUDA's mathematical functions (CUDA C++ Programming Guide, 5.5.1). */
  units: { cpu: number; cuda: number };
}
const FUNCTIONS: Record<string, AccurateFunction> = {
  exp: { op: exp, exact: Math.exp, units: { cpu: 1, cuda: 1 } },
  log: { op: log, exact: Math.log, units: { cpu: 0.51, cuda: 1 } },
  // On the CPU 0.51 up to a million, and what the C library gives beyond.
  sin: { op: sin, exact: Math.sin, units: { cpu: 0.57, cuda: 2 } },
  cos: { op: cos, exact: Math.cos, units: { cpu: 0.57, cuda: 2 } },
  tanh: { op: tanh, exact: Math.tanh, units: { cpu: 1.5, cuda: 2 } },
  erf: { op: erf, exact: exactErf, units: { cpu: 1.5, cuda: 2 } },
  sqrt: { op: sqrt, exact: Math.sqrt, units: { cpu: 0.51, cuda: 0.51 } },
};

describe.each(Object.entries(FUNCTIONS))("%s over the whole range of float32", (_, { op, exact, units: limits }) => {
  const units = defaultDevice() === "cpu" ? limits.cpu : limits.cuda;
  // Every 40 009th bit pattern: all exponents, both signs, subnormal numbers.
  const bits = Uint32Array.from({ length: Math.floor(2 ** 32 / 40009) }, (_, i) => i * 40009);
  const x = new Float32Array(bits.buffer).filter((value) => !Number.isNaN(value));
  test(`is within ${units} units in the last place`, () => {
    const y = op(tensor(x)).toFloat32Array();
    let worst = 0;
    let at = 0;
    x.forEach((value, i) => {
      const result = exact(value);
      // A result beyond the largest float32, and one that is subnormal, is rounded in the same steps as in C.
      const error = unitsInLastPlace(
        y[i] as number,
        Math.fround(result) === result ? result : Math.abs(result) > 3.4028235e38 ? Infinity : result,
      );
      if (!(error <= worst)) [worst, at] = [error, value];
    });
    expect(worst, `worst at ${at}`).toBeLessThanOrEqual(units);
  });
  test("gives C's results for infinities and NaN", () => {
    const edges = [Infinity, -Infinity, NaN];
    expect(op(tensor(edges)).toArray()).toEqual(edges.map(exact));
  });
});

test("pow is rounded once, and gives C's results at zeros, infinities and below 0", () => {
  const bases = Float32Array.from([
    0,
    -0,
    1,
    -1,
    Infinity,
    -Infinity,
    NaN,
    2.5,
    -2.5,
    1e-40,
    3e38,
    7e-20,
    ...randomArray([500], { low: 0, high: 50 }).data,
  ]);
  for (const exponent of [0, 1, 2, 3, -1, -2, 0.5, -0.5, 1.5, 0.25, 10, -7, 100.5]) {
    const actual = pow(tensor(bases), exponent).toFloat32Array();
    bases.forEach((base, i) => {
      const exact = Math.fround(base ** exponent);
      const label = `${base} ^ ${exponent}`;
      if (Number.isFinite(exact) && exact !== 0)
        expect(unitsInLastPlace(actual[i] as number, base ** exponent), label).toBeLessThan(0.51);
      else if (Number.isNaN(exact)) expect(actual[i], label).toBeNaN();
      else expect(Math.abs(actual[i] as number), label).toBe(Math.abs(exact));
    });
  }
  expect(pow(tensor([2, 0, NaN]), NaN).toArray()).toEqual([NaN, NaN, NaN]);
  expect(pow(tensor([2, 0.5]), Infinity).toArray()).toEqual([Infinity, 0]);
});

test("exp just below overflow, in the subnormal range and below it", () => {
  const x = [88.72283, 88.7229, 89, 1000, -87.5, -100, -103.9, -104.5, -1000];
  const y = exp(tensor(x)).toArray();
  x.forEach((value, i) => {
    const exact = Math.fround(Math.exp(Math.fround(value)));
    if (Number.isFinite(exact)) expectClose([y[i] as number], [exact], { relative: 2 ** -23, absolute: 2 ** -149 });
    else expect(y[i]).toBe(Infinity);
  });
});

test("sigmoid, silu and gelu far from 0", () => {
  const x = tensor([-1000, -200, -100, 100, 1000]);
  expect(sigmoid(x).toArray()).toEqual([0, 0, 0, 1, 1]);
  expect(silu(x).toArray().map(Math.abs)).toEqual([0, 0, 0, 100, 1000]);
  for (const kind of ["none", "tanh"] as const)
    expect(gelu(x, kind).toArray().map(Math.abs)).toEqual([0, 0, 0, 100, 1000]);
});

test("NaN wins in maximum, minimum, clamp and relu", () => {
  const x = tensor([NaN, 1, NaN]);
  const y = tensor([1, NaN, NaN]);
  expect(maximum(x, y).toArray()).toEqual([NaN, NaN, NaN]);
  expect(minimum(x, y).toArray()).toEqual([NaN, NaN, NaN]);
  expect(clamp(x, 0, 1).toArray()).toEqual([NaN, 1, NaN]);
  expect(relu(x).toArray()).toEqual([NaN, 1, NaN]);
});

test("the sine of a large angle is that of the C library", () => {
  const x = [1e6, 1.5e6, -3e7, 2 ** 40, 1e20, 3e38];
  expectClose(
    sin(tensor(x)).toArray(),
    x.map((value) => Math.sin(Math.fround(value))),
    { absolute: 6e-8 },
  );
  expectClose(
    cos(tensor(x)).toArray(),
    x.map((value) => Math.cos(Math.fround(value))),
    { absolute: 6e-8 },
  );
});

// ---- Integers, bool, comparison ------------------------------------------------------------------------------------------------

describe.each(["int32", "int64", "uint8"] as const)("%s", (dtype) => {
  const x = tensor([7, 3, 200, 0], { dtype });
  const y = tensor([2, 3, 4, 5], { dtype });
  test("arithmetic keeps the dtype, division gives float32", () => {
    for (const [op, expected] of [
      [add, [9, 6, 204, 5]],
      [mul, [14, 9, 800 & (dtype === "uint8" ? 255 : 1023), 0]],
      [maximum, [7, 3, 200, 5]],
      [minimum, [2, 3, 4, 0]],
    ] as const) {
      expect(op(x, y).dtype).toBe(dtype);
      expect(op(x, y).toArray()).toEqual(expected);
    }
    expect(div(x, y).dtype).toBe("float32");
    expectClose(div(x, y).toArray(), [3.5, 1, 50, 0], { relative: 1e-7 });
    expect(add(x, 1).dtype).toBe(dtype);
    expect(add(x, 0.5).dtype).toBe("float32");
    expect(clamp(x, 1, 100).toArray()).toEqual([7, 3, 100, 1]);
    expect(square(tensor([3, 4], { dtype })).toArray()).toEqual([9, 16]);
  });
});

test("int64 beyond 2^24 is exact", () => {
  const x = tensor(BigInt64Array.from([2n ** 40n + 1n, -(2n ** 50n)]));
  expect(add(x, x).toArray()).toEqual([2 ** 41 + 2, -(2 ** 51)]);
  expect(neg(x).toArray()).toEqual([-(2 ** 40) - 1, 2 ** 50]);
});

test("dtypes promote as in torch", () => {
  const of = (dtype: DType): Tensor => tensor([1], { dtype });
  for (const [a, b, expected] of [
    ["float32", "bfloat16", "float32"],
    ["bfloat16", "float16", "float32"],
    ["bfloat16", "int64", "bfloat16"],
    ["int32", "int64", "int64"],
    ["uint8", "int32", "int32"],
    ["bool", "uint8", "uint8"],
    ["bool", "bool", "bool"],
  ] as const) {
    expect(add(of(a), of(b)).dtype, `${a} + ${b}`).toBe(expected);
    expect(add(of(b), of(a)).dtype, `${b} + ${a}`).toBe(expected);
  }
  expect(mul(of("bfloat16"), 1.1).dtype).toBe("bfloat16");
});

test("a gradient of a promoted operand has the operand's dtype", () => {
  const x = tensor([1, 2], { dtype: "bfloat16", requiresGrad: true });
  const y = tensor([3, 4], { requiresGrad: true });
  sum(mul(x, y)).backward();
  expect([x.grad?.dtype, y.grad?.dtype]).toEqual(["bfloat16", "float32"]);
  expect([x.grad?.toArray(), y.grad?.toArray()]).toEqual([
    [3, 4],
    [1, 2],
  ]);
});

test("comparisons and logic give bool, in every dtype", () => {
  for (const dtype of ["float32", "bfloat16", "float16", "int32", "int64", "uint8"] as const) {
    const x = tensor([1, 2, 3], { dtype });
    const y = tensor([2, 2, 2], { dtype });
    const cases: [Tensor, number[]][] = [
      [eq(x, y), [0, 1, 0]],
      [ne(x, y), [1, 0, 1]],
      [lt(x, y), [1, 0, 0]],
      [le(x, 2), [1, 1, 0]],
      [gt(x, y), [0, 0, 1]],
      [ge(x, 2), [0, 1, 1]],
      [logicalNot(sub(x, y)), [0, 1, 0]],
      [logicalAnd(gt(x, 1), lt(x, 3)), [0, 1, 0]],
      [logicalOr(lt(x, 2), gt(x, 2)), [1, 0, 1]],
    ];
    for (const [result, expected] of cases) {
      expect(result.dtype).toBe("bool");
      expect(result.toArray()).toEqual(expected);
    }
  }
  const nan = tensor([NaN]);
  expect([eq, lt, le, gt, ge].map((op) => op(nan, nan).item())).toEqual([0, 0, 0, 0, 0]);
  expect(ne(nan, nan).item()).toBe(1);
});

test("where selects, broadcasts, and routes the gradient", () => {
  const condition = tensor([1, 0, 1], { dtype: "bool" });
  const x = tensor([1, 2, 3, 4, 5, 6], { shape: [2, 3], requiresGrad: true });
  const y = tensor([10], { requiresGrad: true });
  const result = where(condition, x, y);
  expect(result.toArray()).toEqual([1, 10, 3, 4, 10, 6]);
  sum(mul(result, tensor([1, 2, 3, 4, 5, 6], { shape: [2, 3] }))).backward();
  expect(x.grad?.toArray()).toEqual([1, 0, 3, 4, 0, 6]);
  expect(y.grad?.toArray()).toEqual([7]);
  // The side that was not taken does not leak its NaN.
  expect(where(condition, tensor([1, NaN, 1]), tensor([NaN, 2, NaN])).toArray()).toEqual([1, 2, 1]);
});

// ---- Cast ----------------------------------------------------------------------------------------------------------------------

function roundedTo(dtype: "bfloat16" | "float16", x: number): number {
  if (!Number.isFinite(x) || x === 0) return x;
  const [digits, lowest, largest] = dtype === "bfloat16" ? [8, -133, 3.3895313892515355e38] : [11, -24, 65504];
  const unit = 2 ** Math.max(Math.floor(Math.log2(Math.abs(x))) + 1 - digits, lowest);
  const scaled = x / unit;
  const floor = Math.floor(scaled);
  const tie = scaled - floor === 0.5;
  const rounded = (tie ? floor + (Math.abs(floor) % 2) : Math.round(scaled)) * unit;
  return Math.abs(rounded) > largest ? Math.sign(x) * Infinity : rounded;
}

test.each(["bfloat16", "float16"] as const)("%s is rounded to nearest, ties to even, over its whole range", (dtype) => {
  const bits = Uint32Array.from({ length: 60000 }, (_, i) => i * 71582);
  const values = new Float32Array(bits.buffer).filter((x) => !Number.isNaN(x));
  const ties = Float32Array.from({ length: 4096 }, (_, i) => (1 + i / 4096) * 2 ** ((i % 20) - 10));
  for (const x of [values, ties]) {
    expect(cast(tensor(x), dtype).toArray()).toEqual(Array.from(x, (value) => roundedTo(dtype, value)));
  }
  expect(cast(tensor([NaN, -NaN]), dtype).toArray()).toEqual([NaN, NaN]);
});

test("casting to an integer truncates towards 0, saturates, and makes NaN 0", () => {
  const x = tensor([1.9, -1.9, 3e9, -3e9, NaN, Infinity]);
  expect(cast(x, "int32").toArray()).toEqual([1, -1, 2147483520, -2147483648, 0, 2147483520]);
  expect(cast(x, "uint8").toArray()).toEqual([1, 0, 255, 0, 0, 255]);
  expect(cast(x, "bool").toArray()).toEqual([1, 1, 1, 1, 1, 1]);
  expect(cast(tensor([0, 2], { dtype: "int32" }), "bool").toArray()).toEqual([0, 1]);
});

test("every pair of dtypes converts small integers exactly", () => {
  const dtypes = ["float32", "bfloat16", "float16", "int32", "int64", "uint8"] as const;
  for (const from of dtypes) {
    for (const to of dtypes)
      expect(cast(tensor([0, 1, 2, 100, 255], { dtype: from }), to).toArray(), `${from} to ${to}`).toEqual([
        0, 1, 2, 100, 255,
      ]);
  }
});

test("the gradient of a cast has the dtype of its input", () => {
  const x = tensor([1, 2], { dtype: "bfloat16", requiresGrad: true });
  sum(mul(cast(x, "float32"), tensor([0.5, 1.25]))).backward();
  expect(x.grad?.dtype).toBe("bfloat16");
  expect(x.grad?.toArray()).toEqual([0.5, 1.25]);
  expect(cast(x, "bfloat16")).toBe(x);
});

test("longer than one run of the kernels, with odd ends", () => {
  for (const count of [1023, 1024, 1025, 16 * 1024 + 1, 40_001]) {
    const x = randomArray([count]);
    const y = mul(tensor(x.data), 2).toFloat32Array();
    expect(y.length).toBe(count);
    expectClose(
      y,
      x.data.map((value) => 2 * Math.fround(value)),
      {},
    );
  }
});

test.each(["float32", "bfloat16"] as const)("%s views that begin anywhere", (dtype) => {
  const values = Array.from({ length: 83 }, (_, i) => i - 40);
  const whole = tensor(values, { dtype });
  for (const begin of [1, 2, 3, 4, 7]) {
    const view = slice(whole, 0, begin, 83);
    expect(neg(view).toArray()).toEqual(values.slice(begin).map((value) => -value));
    expect(add(view, view).toArray()).toEqual(values.slice(begin).map((value) => 2 * value));
  }
});
