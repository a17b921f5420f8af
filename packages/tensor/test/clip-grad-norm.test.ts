import { expectClose, fixturePath, readJsonFixture, readSafetensors } from "@fms-accel/test-utilities";
import { expect, test } from "vitest";
import { clipGradNorm, Parameter, tensor, type Tensor, TensorError, unscaleGradients, zeros } from "../src/index.ts";

interface Clip {
  name: string;
  norm_type: string;
  max_norm: number;
  returned_norm: string;
}
const clips = readJsonFixture<{ clips: Clip[] }>("adamw.json").clips.filter(({ norm_type: type }) => type === "2.0");
const reference = readSafetensors(fixturePath("adamw.safetensors"));
const NAMES = ["matrix", "vector", "cube"];

function withGradient(gradient: Tensor): Parameter {
  const param = new Parameter(zeros(gradient.shape));
  param.grad = gradient;
  return param;
}

test.each(clips)("as torch: $name", ({ name, max_norm: maxNorm, returned_norm: returned }) => {
  const params = NAMES.map((part) => {
    const before = reference.get(`${name}.before.${part}`);
    return withGradient(tensor(before?.data ?? [], { shape: before?.shape ?? [] }));
  });
  const norm = clipGradNorm(params, maxNorm);
  const expected = returned === "inf" ? Infinity : Number(returned);
  expectClose([norm], [expected], { relative: 2e-7 });
  params.forEach((param, i) => {
    expectClose(param.grad?.toFloat32Array() ?? [], reference.get(`${name}.after.${NAMES[i]}`)?.data ?? [], {
      relative: 3e-7,
    });
  });
});

test("parameters without a gradient are skipped; none at all have norm 0", () => {
  const params = [new Parameter(zeros([2])), withGradient(tensor([3, 4]))];
  expect(clipGradNorm(params, 1)).toBe(5);
  expectClose(params[1]?.grad?.toArray() ?? [], [0.6, 0.8], { relative: 1e-6 });
  expect(clipGradNorm([new Parameter(zeros([2]))], 1)).toBe(0);
});

test("more tensors than a GPU takes at once", () => {
  const gradients = Array.from({ length: 90 }, (_, i) =>
    Array.from({ length: 1 + ((i * 37) % 300) }, (_, j) => (i + j) % 7),
  );
  const norm = Math.sqrt(gradients.flat().reduce((sum, value) => sum + value * value, 0));
  const params = gradients.map((values) => withGradient(tensor(values)));
  expectClose([clipGradNorm(params, norm / 2)], [norm], { relative: 1e-6 });
  expectClose(
    params.flatMap(({ grad }) => grad?.toArray() ?? []),
    gradients.flat().map((value) => value / 2),
    { relative: 1e-6 },
  );
});

test("an infinite limit changes nothing", () => {
  const param = withGradient(tensor([3e30, 4e30]));
  expect(clipGradNorm([param], Infinity)).toBe(Math.fround(5e30));
  expect(param.grad?.toArray()).toEqual([3e30, 4e30].map(Math.fround));
});

test("a negative limit and no number are errors", () => {
  expect(() => clipGradNorm([], -1)).toThrow(TensorError);
  expect(() => clipGradNorm([], NaN)).toThrow(/found NaN/);
});

test("unscaling divides and tells whether gradients were finite", () => {
  const finite = withGradient(tensor([1024, -2048], { dtype: "float16" }));
  expect(unscaleGradients([finite, new Parameter(zeros([1]))], 1024)).toBe(true);
  expect(finite.grad?.toArray()).toEqual([1, -2]);
  for (const bad of [Infinity, -Infinity, NaN]) {
    const values = Array.from({ length: 5000 }, (_, i) => (i === 4321 ? bad : i));
    expect(unscaleGradients([withGradient(tensor([1])), withGradient(tensor(values))], 2)).toBe(false);
  }
  // The largest finite float16 is not mistaken for an infinity.
  expect(unscaleGradients([withGradient(tensor([65504], { dtype: "float16" }))], 2)).toBe(true);
  expect(unscaleGradients([], 2)).toBe(true);
  expect(() => unscaleGradients([finite], 0)).toThrow(TensorError);
});
