import { type DType, tensor, type Tensor } from "../../src/index.ts";

/** Reproducible numbers in (-1, 1), by a linear congruential generator. */
export function randomNumbers(count: number, seed = 1): Float64Array {
  let state = BigInt(seed) * 0x9e3779b97f4a7c15n + 1n;
  return Float64Array.from({ length: count }, () => {
    state = (state * 6364136223846793005n + 1442695040888963407n) & ((1n << 64n) - 1n);
    return (Number(state >> 11n) / 2 ** 53) * 2 - 1;
  });
}

/** A leaf with reproducible values in (-1, 1). */
export function randomTensor(
  shape: readonly number[],
  { seed = 1, dtype = "float32", requiresGrad = false }: { seed?: number; dtype?: DType; requiresGrad?: boolean } = {},
): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  return tensor(randomNumbers(count, seed), { shape, dtype, requiresGrad });
}
