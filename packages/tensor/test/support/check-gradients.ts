import { expectClose } from "@fms-accel/test-utilities";
import { expect } from "vitest";
import { type DType, scope, tensor, type Tensor } from "../../src/index.ts";
import { type DoubleArray, type Layout, LAYOUTS, laidOut, read } from "./double-array.ts";
import { randomNumbers } from "./random-tensor.ts";

export type Reference = (...inputs: DoubleArray[]) => DoubleArray;

export interface Check {
  op: (...inputs: Tensor[]) => Tensor;
  /** The same in float64. */
  reference: Reference;
  inputs: readonly DoubleArray[];
  dtypes?: readonly DType[];
  layouts?: readonly Layout[];
  /** Relative to the largest magnitude of what is compared, in units of the dtype's rounding (2^-24, 2^-9, 2^-12). Default 8. */
  roundings?: number;
  /** Rounding of the gradient likewise. Default 16. */
  gradientRoundings?: number;
  /** Whether gradients are checked. Default true. */
  differentiable?: boolean;
  /** The dtype of the result. Default: that of the inputs. */
  resultDtype?: DType;
}

export const ROUNDING: Readonly<Record<string, number>> = { float32: 2 ** -24, bfloat16: 2 ** -9, float16: 2 ** -12 };
export const FLOATING: readonly DType[] = ["float32", "bfloat16", "float16"];

function scaleOf(values: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++)
    if (Number.isFinite(values[i])) largest = Math.max(largest, Math.abs(values[i] as number));
  return largest;
}

// Elements whose derivative is checked: all of a small input, some of a large one.
const MOST_ELEMENTS = 16;

/** d Σ weights · reference / d input[i] for each i of `elements`, by central differences in float64. */
export function numericalGradient(
  reference: Reference,
  inputs: readonly DoubleArray[],
  which: number,
  elements: readonly number[],
  weights: Float64Array,
): number[] {
  const loss = (): number =>
    reference(...inputs).data.reduce((sum, value, i) => sum + value * (weights[i] as number), 0);
  const { data } = inputs[which] as DoubleArray;
  return elements.map((i) => {
    const value = data[i] as number;
    const step = 1e-5 * Math.max(1, Math.abs(value));
    data[i] = value + step;
    const above = loss();
    data[i] = value - step;
    const below = loss();
    data[i] = value;
    return (above - below) / (2 * step);
  });
}

/**
 * Checks `op` against `reference`: values, and the gradient of every input against central differences of the reference in float64, for each
 * dtype and memory layout. The reference sees the inputs as rounded to the dtype, so only the operation's own rounding is left.
 */
export function checkOperation(check: Check): void {
  const { dtypes = FLOATING, layouts = LAYOUTS, roundings = 8, gradientRoundings = 16, differentiable = true } = check;
  for (const dtype of dtypes) {
    for (const layout of layouts) {
      scope(() => {
        const label = `${dtype}, ${layout}`;
        const inputs = check.inputs.map((input) => laidOut(input, layout, { dtype, requiresGrad: differentiable }));
        const exact = inputs.map(read);
        const output = check.op(...inputs);
        const expected = check.reference(...exact);
        const resultDtype = check.resultDtype ?? dtype;
        expect(output.shape, label).toEqual(expected.shape);
        expect(output.dtype, label).toBe(resultDtype);
        // The reference has roundings of its own, of float64.
        const rounding = Math.max(ROUNDING[resultDtype] ?? 0, ROUNDING["float32"] as number);
        expectClose(
          output.toArray(),
          expected.data,
          { absolute: roundings * rounding * scaleOf(expected.data) + 1e-15 },
          `${label}: result`,
        );
        if (!differentiable) return;

        const weights = tensor(randomNumbers(output.numel, 99), { shape: output.shape, dtype: output.dtype });
        output.backward(weights);
        inputs.forEach((input, which) => {
          const stride = Math.max(1, Math.ceil(input.numel / MOST_ELEMENTS));
          const elements = Array.from({ length: Math.ceil(input.numel / stride) }, (_, i) => i * stride);
          const numerical = numericalGradient(check.reference, exact, which, elements, read(weights).data);
          const gradient = input.grad;
          expect(gradient?.shape, `${label}: shape of gradient ${which}`).toEqual(input.shape);
          expect(gradient?.dtype, `${label}: dtype of gradient ${which}`).toBe(dtype);
          // The differences themselves are good to about 1e-9.
          const absolute =
            gradientRoundings * Math.max(ROUNDING[dtype] as number, rounding) * scaleOf(numerical) + 1e-8;
          const actual = gradient?.toFloat32Array() ?? new Float32Array();
          expectClose(
            elements.map((i) => actual[i] as number),
            numerical,
            { absolute },
            `${label}: gradient ${which}`,
          );
        });
      });
    }
  }
}
