// Products by cuBLASLt on the emulated device: a library that stands in for it (native/test/fake_cublaslt.cc) computes what it was told.
// Runs where FMS_ACCEL_CUBLASLT names that library (vitest.config.ts).
import { relativeDifference } from "@fms-accel/test-utilities";
import { beforeAll, describe, expect, test } from "vitest";
import {
  add,
  addmm,
  autocast,
  cudaStatus,
  linear,
  matmul,
  reshape,
  setDefaultDevice,
  slice,
  lowRankLinear,
  type DType,
  type Tensor,
  to,
  transpose,
  workStats,
} from "../../src/index.ts";
import { randomTensor } from "../support/random-tensor.ts";

beforeAll(() => setDefaultDevice("cuda"));

/** How many products cuBLASLt was given, and whether the result is that of the CPU. */
function given(body: (move: (x: Tensor) => Tensor) => Tensor): { products: number; difference: number } {
  const before = workStats("cuda").libraryProducts;
  const onDevice = body((x) => x);
  const products = workStats("cuda").libraryProducts - before;
  const onCpu = body((x) => to(x, "cpu"));
  expect(onDevice.dtype).toBe(onCpu.dtype);
  return { products, difference: relativeDifference(onDevice.toFloat32Array(), onCpu.toFloat32Array()) };
}

const half = (shape: readonly number[], seed: number): Tensor => randomTensor(shape, { seed, dtype: "bfloat16" });

describe("cuBLASLt", () => {
  test("is named with its version", () => {
    expect(cudaStatus().cublasLt).toMatch(/^13\.1\.0 \(.*libfake_cublaslt\.so\)$/);
  });

  test.each([
    ["rows times rows", [33, 48], [48, 19], false, false],
    ["a transposed left factor", [48, 33], [48, 19], true, false],
    ["a transposed right factor", [33, 48], [19, 48], false, true],
    ["both transposed", [48, 33], [19, 48], true, true],
    ["one row", [1, 48], [48, 19], false, false],
    ["one column", [33, 48], [48, 1], false, false],
    ["a batch", [3, 17, 24], [3, 24, 9], false, false],
    ["a batch with one right factor", [3, 17, 24], [1, 24, 9], false, false],
  ] as const)("multiplies %s, once with each layout", (_, a, b, turnsA, turnsB) => {
    const turned = (x: Tensor, turns: boolean): Tensor => (turns ? transpose(x, -2, -1) : x);
    const found = given((move) => matmul(turned(move(half(a, 1)), turnsA), turned(move(half(b, 2)), turnsB)));
    expect(found.products).toBe(1);
    expect(found.difference).toBeLessThan(4e-3);
  });

  test("adds a bias and what was there before, and takes rows with room between them", () => {
    const biased = given((move) => linear(move(half([5, 40], 1)), move(half([24, 40], 2)), move(half([24], 3))));
    expect(biased).toEqual({ products: 1, difference: expect.closeTo(0, 2) });
    const twice = given((move) => {
      const [x, weight] = [move(half([5, 40], 1)), move(half([24, 40], 2))];
      const [first, second] = [move(half([24], 3)), move(half([24], 4))];
      return add(linear(x, weight, first), linear(x, weight, second));
    });
    expect(twice).toEqual({ products: 2, difference: expect.closeTo(0, 2) });
    const summed = given((move) => addmm(move(half([5, 24], 5)), move(half([5, 40], 1)), move(half([40, 24], 2))));
    expect(summed.difference).toBeLessThan(4e-3);
    const part = given((move) => matmul(slice(move(half([9, 64], 6)), 1, 8, 48), move(half([40, 16], 7))));
    expect(part).toEqual({ products: 1, difference: expect.closeTo(0, 2) });
  });

  test.each(["float32", "float16"] as const)("multiplies %s", (dtype) => {
    const found = given((move) =>
      linear(
        move(randomTensor([33, 40], { seed: 1, dtype })),
        move(randomTensor([19, 40], { seed: 2, dtype })),
        move(randomTensor([19], { seed: 3, dtype })),
      ),
    );
    expect(found.products).toBe(1);
    expect(found.difference).toBeLessThan(dtype === "float32" ? 1e-6 : 1e-3);
  });

  test("gets a layer with a low-rank tail as two products, the narrow ones being those that their dtypes make them", () => {
    const tailed = (dtype: DType): { products: number; difference: number } =>
      given((move) => {
        const [a, b] = [randomTensor([8, 40], { seed: 3, dtype }), randomTensor([24, 8], { seed: 4, dtype })];
        return lowRankLinear(move(half([33, 40], 1)), move(half([24, 40], 2)), move(a), move(b), 0.5, {
          bias: move(half([24], 5)),
        });
      });
    const all = tailed("bfloat16");
    expect(all.products).toBe(3);
    expect(all.difference).toBeLessThan(4e-3);
    const mixed = tailed("float32");
    expect(mixed.products).toBe(1);
    expect(mixed.difference).toBeLessThan(4e-3);
  });

  test("is not asked for products of another kind, and where it knows no way own kernels multiply", () => {
    for (const body of [
      (move: (x: Tensor) => Tensor): Tensor =>
        autocast("bfloat16", () => matmul(move(randomTensor([9, 16], { seed: 1 })), move(half([16, 5], 2)))),
      (move: (x: Tensor) => Tensor): Tensor => matmul(move(half([77, 16], 1)), move(half([16, 5], 2))),
      (move: (x: Tensor) => Tensor): Tensor => matmul(reshape(move(half([9, 1], 1)), [9, 1]), move(half([1, 0], 2))),
    ]) {
      const { products, difference } = given(body);
      expect(products).toBe(0);
      expect(difference).toBeLessThan(4e-3);
    }
  });
});
