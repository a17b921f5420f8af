import { cast, type DType, isFloating, type Module, noGrad, Parameter, type Tensor, to } from "@fms-accel/tensor";

import type { Architecture } from "../architectures/architecture.ts";
import { CheckpointError } from "../errors.ts";
import { listNames } from "../messages/did-you-mean.ts";
import type { CausalLM } from "../modeling/causal-lm.ts";
import type { Checkpoint } from "../safetensors/checkpoint.ts";
import { mapTensors, type WeightSource } from "./map-tensors.ts";

/** Problems of one kind that a message names before it counts the rest. */
const LISTED = 10;

/**
 * Gives every parameter of a model its tensor of the checkpoint. On the CPU, a tensor that has the wanted dtype already stays
 * a view of the mapped file; others are converted, and copied to the device of the model.
 * @throws CheckpointError listing all tensors that are missing, unexpected, or of another shape
 */
export function loadWeights(model: CausalLM, files: Checkpoint, architecture: Architecture, dtype: DType): void {
  const checkpoint = mapTensors(files, architecture.tensorMappings ?? []);
  const parameters = new Map(model.namedParameters());
  const sources = matchTensors(model, parameters, checkpoint, architecture);
  noGrad(() => {
    for (const [name, source] of sources) {
      const loaded = checkpoint.tensor(source);
      if (!isFloating(loaded.dtype)) {
        throw new CheckpointError(
          `${checkpoint.tensors.get(source)!.file}: tensor "${source}": expected a floating dtype, found ${loaded.dtype}.`,
        );
      }
      const weight = loaded.dtype === dtype ? loaded : cast(loaded, dtype);
      const placed = to(weight, parameters.get(name)!.device);
      setParameter(model, name, placed);
      for (const tensor of new Set([placed, weight, loaded])) tensor.dispose();
    }
  });
  tieWeights(model);
}

/** Lets every alias of a tied weight be the kept parameter again, after the kept one was replaced. */
export function tieWeights(model: CausalLM): void {
  for (const [kept, alias] of model.tiedWeights()) {
    const [module, field] = ownerOf(model, alias);
    const [keptModule, keptField] = ownerOf(model, kept);
    module[field] = keptModule[keptField];
  }
}

/** Parameter name → name of its tensor in the checkpoint. */
function matchTensors(
  model: CausalLM,
  parameters: ReadonlyMap<string, Parameter>,
  checkpoint: WeightSource,
  architecture: Architecture,
): ReadonlyMap<string, string> {
  const tied = model.tiedWeights();
  const aliases = new Map(tied.map(([kept, alias]) => [alias, kept]));
  const sources = new Map<string, string>();
  const missing: string[] = [];
  const unexpected: string[] = [];
  const wrong: string[] = [];
  for (const [name, parameter] of parameters) {
    if (aliases.has(name)) {
      continue;
    }
    const places = [name, ...tied.filter(([kept]) => kept === name).map(([, alias]) => alias)];
    const source = places.find((place) => checkpoint.tensors.has(place));
    if (source === undefined) {
      missing.push(`${name} [${parameter.shape.join(", ")}]`);
      continue;
    }
    const found = checkpoint.tensors.get(source)!;
    if (found.shape.join() !== parameter.shape.join()) {
      wrong.push(
        `${source} in ${found.file}: expected [${parameter.shape.join(", ")}], found [${found.shape.join(", ")}]`,
      );
    } else {
      sources.set(name, source);
    }
  }
  for (const [name, found] of checkpoint.tensors) {
    const kept = aliases.get(name);
    if (kept !== undefined) {
      requireEqual(checkpoint, kept, name);
    } else if (!parameters.has(name) && !architecture.ignoredTensors.some((pattern) => pattern.test(name))) {
      unexpected.push(`${name} [${found.shape.join(", ")}] in ${found.file}`);
    }
  }
  const problems = [
    describe("missing", missing),
    describe("not part of the model", unexpected),
    describe("of another shape", wrong),
  ].filter((problem) => problem !== "");
  if (problems.length > 0) {
    throw new CheckpointError(
      `${checkpoint.directory}: the weights do not fit ${architecture.name} as config.json describes it.\n${problems.join("\n")}`,
    );
  }
  return sources;
}

function describe(what: string, names: readonly string[]): string {
  return names.length === 0
    ? ""
    : `  ${names.length} tensor${names.length === 1 ? "" : "s"} ${what}: ${listNames(names, LISTED)}`;
}

/** A checkpoint may store a tied weight twice, but then as the same values: or else one of the two would be lost. */
function requireEqual(checkpoint: WeightSource, kept: string, alias: string): void {
  if (!checkpoint.tensors.has(kept)) {
    return;
  }
  const [first, second] = [checkpoint.tensor(kept), checkpoint.tensor(alias)];
  try {
    if (first.dtype !== second.dtype || Buffer.compare(first.toBytes(), second.toBytes()) !== 0) {
      throw new CheckpointError(
        `${checkpoint.directory}: config.json ties "${alias}" to "${kept}" (tie_word_embeddings), but the two tensors differ. ` +
          `Set tie_word_embeddings to false if both are meant.`,
      );
    }
  } finally {
    first.dispose();
    second.dispose();
  }
}

function setParameter(model: Module, name: string, weight: Tensor): void {
  const [module, field] = ownerOf(model, name);
  const before = module[field] as Parameter;
  module[field] = new Parameter(weight);
  before.dispose();
}

/** The module that holds a parameter, and the name of the field. */
function ownerOf(model: Module, name: string): [Record<string, unknown>, string] {
  const dot = name.lastIndexOf(".");
  const module = dot < 0 ? model : model.getSubmodule(name.slice(0, dot));
  return [module as unknown as Record<string, unknown>, name.slice(dot + 1)];
}
