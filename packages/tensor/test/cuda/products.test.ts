// Products by tensor cores: tiles come by asynchronous copies where rows of bfloat16 lie at 16 bytes, and through registers elsewhere.
import { relativeDifference } from "@fms-accel/test-utilities";
import { beforeAll, describe, expect, test } from "vitest";
import {
  addmm,
  autocast,
  cast,
  linear,
  lowRankLinear,
  matmul,
  reshape,
  setDefaultDevice,
  slice,
  type Tensor,
  to,
} from "../../src/index.ts";
import { randomTensor } from "../support/random-tensor.ts";

beforeAll(() => setDefaultDevice("cuda"));

/** The same matrix as a view whose rows lie `room` elements further apart and begin `shift` elements later. */
function spread(values: Tensor, shift: number, room: number): Tensor {
  const [rows, columns] = values.shape as [number, number];
  const wide = randomTensor([rows, columns + room], { seed: 99, dtype: values.dtype });
  const view = slice(wide, 1, shift, shift + columns);
  view.copyFrom(values);
  return view;
}
const sameBits = (x: Tensor, y: Tensor): boolean => Buffer.compare(x.toBytes(), y.toBytes()) === 0;
const matrix = (rows: number, columns: number, seed: number): Tensor =>
  randomTensor([rows, columns], { seed, dtype: "bfloat16" });

describe.each([
  [false, false],
  [false, true],
  [true, false],
  [true, true],
])("transposed factors %s, %s", (transposeA, transposeB) => {
  // Rounds of the ring from less than one to many; edges inside of a run of eight and at its end.
  const shapes: [m: number, n: number, k: number][] = [
    [72, 40, 8],
    [64, 64, 32],
    [65, 71, 33],
    [33, 9, 64],
    [130, 66, 101],
    [17, 24, 416],
    [1, 8, 515],
    [530, 70, 8],
  ];
  if (transposeA !== transposeB) shapes.push([65, 8129, 24]); // takes the large blocks
  test.each(shapes)(
    "%i x %i x %i: copies and registers give the same bits, those of the CPU but for the order of sums",
    (m, n, k) => {
      const a = transposeA ? matrix(k, m, 1) : matrix(m, k, 1);
      const b = transposeB ? matrix(n, k, 2) : matrix(k, n, 2);
      const aligned = (x: Tensor): Tensor => spread(x, 8, 24 - ((x.shape[1] as number) % 8));
      const byCopies = matmul(aligned(a), aligned(b), { transposeA, transposeB });
      const byRegisters = matmul(spread(a, 1, 3), spread(b, 3, 5), { transposeA, transposeB });
      expect(sameBits(byCopies, byRegisters)).toBe(true);
      const onCpu = matmul(to(a, "cpu"), to(b, "cpu"), { transposeA, transposeB });
      expect(relativeDifference(byCopies.toFloat32Array(), onCpu.toFloat32Array())).toBeLessThan(4e-3);
    },
  );
});

test.each([
  [66, 40, 72],
  [5, 33, 136],
])("%i x %i x %i: a bias, what was there before, a low-rank tail, and operands of two dtypes", (m, n, k) => {
  const [x, weight, bias, before] = [matrix(m, k, 1), matrix(n, k, 2), matrix(1, n, 3), matrix(m, n, 4)];
  const [down, up] = [matrix(16, k, 5), matrix(n, 16, 6)];
  const bodies: ((move: (t: Tensor) => Tensor) => Tensor)[] = [
    (move) => addmm(move(before), move(x), move(matrix(k, n, 7)), { beta: 0.5, alpha: 2 }),
    (move) => linear(move(x), move(weight), reshape(move(bias), [n])),
    (move) => lowRankLinear(move(x), move(weight), move(down), move(up), 0.75),
    (move) => lowRankLinear(move(x), move(weight), cast(move(down), "float32"), cast(move(up), "float32"), 0.75),
    (move) => autocast("bfloat16", () => linear(move(x), cast(move(weight), "float32"))),
  ];
  for (const body of bodies) {
    const onDevice = body((t) => t);
    const onCpu = body((t) => to(t, "cpu"));
    expect(onDevice.dtype).toBe(onCpu.dtype);
    expect(relativeDifference(onDevice.toFloat32Array(), onCpu.toFloat32Array())).toBeLessThan(4e-3);
  }
});

test("a large product rounds what is not in bfloat16 first, and has the bits of operands that were", () => {
  const x = randomTensor([65, 8], { seed: 1 });
  const weight = spread(randomTensor([8129, 8], { seed: 2 }), 1, 3);
  const [roundedX, roundedWeight] = [cast(x, "bfloat16"), cast(weight, "bfloat16")];
  const expected = linear(roundedX, roundedWeight);
  expect(
    sameBits(
      autocast("bfloat16", () => linear(x, weight)),
      expected,
    ),
  ).toBe(true);
  expect(
    sameBits(
      autocast("bfloat16", () => linear(roundedX, weight)),
      expected,
    ),
  ).toBe(true);
});
