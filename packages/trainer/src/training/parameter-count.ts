import { Embedding, type Module } from "@fms-accel/tensor";

/**
 * Floating-point operations of a training step for each position: 6 × the parameters without embeddings, Hugging Face's estimate
 * (Kaplan et al., "Scaling laws for neural language models", 2020).
 */
export function flopsPerPosition(model: Module): number {
  const embeddings = new Set(
    [...model.namedModules()].flatMap(([name, module]) => (module instanceof Embedding ? [`${name}.weight`] : [])),
  );
  let parameters = 0;
  for (const [name, parameter] of model.namedParameters()) if (!embeddings.has(name)) parameters += parameter.numel;
  return 6 * parameters;
}
