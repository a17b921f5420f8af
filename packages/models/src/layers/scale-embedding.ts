import { full, mul, type Tensor } from "@fms-accel/tensor";

/** Gemma's embeddings times √hidden, the factor rounded to their dtype as the reference rounds it. */
export function scaleEmbedding(embedded: Tensor): Tensor {
  const { dtype, device } = embedded;
  return mul(embedded, full([], Math.sqrt(embedded.shape.at(-1)!), { dtype, device }));
}
