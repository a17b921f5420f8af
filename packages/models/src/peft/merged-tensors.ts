/** The weights of a model with adapters merged in, made one at a time: a model may not fit twice. */
import { type Module, noGrad, Parameter, scope, stack, type Tensor } from "@fms-accel/tensor";

import type { CausalLM } from "../modeling/causal-lm.ts";
import type { PendingTensor } from "../safetensors/writer.ts";
import { LoraLayer } from "./lora-layer.ts";
import { LoraParallelExperts } from "./lora-parallel-experts.ts";
import { ModulesToSaveWrapper } from "./modules-to-save.ts";
import { setTied } from "./vocabulary-weights.ts";

/** A tensor to be made of others, which go when it is the last that needs them. */
interface Recipe {
  readonly sources: readonly Tensor[];
  readonly shape: readonly number[];
  /** Whether it is more than a handle of its source. */
  readonly isMerged: boolean;
  readonly make: () => Tensor;
}

/**
 * What `mergeAndUnload` would leave of a model, in its order and by its names. Weights that are tied and stay equal stand under their kept
 * name only; where merging makes them different, the model's configuration says from then on that they are not tied. Each tensor can be
 * computed once: the model's own weight goes with it.
 */
export function mergedTensors(model: CausalLM, adapters: readonly string[]): Map<string, PendingTensor> {
  const recipes = new Map(recipesOf(model, "", adapters));
  for (const [kept, alias] of model.tiedWeights()) {
    if (haveEqualResults(recipes.get(kept)!, recipes.get(alias)!)) {
      recipes.delete(alias);
    } else {
      setTied(model, false);
    }
  }
  const uses = new Map<Tensor, number>();
  for (const source of [...recipes.values()].flatMap(({ sources }) => sources)) {
    uses.set(source, (uses.get(source) ?? 0) + 1);
  }
  const release = (source: Tensor): void => {
    const left = uses.get(source)! - 1;
    uses.set(source, left);
    if (left === 0) {
      source.dispose();
    }
  };
  return new Map(
    [...recipes].map(([name, { sources, shape, make }]) => {
      const compute = (): Tensor => {
        const made = make();
        sources.forEach(release);
        return made;
      };
      return [name, { shape, dtype: sources[0]!.dtype, numel: shape.reduce((a, b) => a * b, 1), compute }];
    }),
  );
}

function* recipesOf(module: Module, path: string, adapters: readonly string[]): Iterable<[string, Recipe]> {
  if (module instanceof LoraLayer) {
    for (const [name, parameter] of module.base_layer.ownParameters()) {
      yield [join(path, name), name === "weight" ? mergedRecipe(module, adapters) : plainRecipe(parameter)];
    }
  } else if (module instanceof LoraParallelExperts) {
    yield [join(path, "weight"), expertsRecipe(module, adapters)];
  } else if (module instanceof ModulesToSaveWrapper) {
    const adapter = adapters.find((name) => module.has(name));
    yield* recipesOf(adapter === undefined ? module.original_module : module.adopt(adapter), path, adapters);
  } else {
    for (const [name, parameter] of module.ownParameters()) {
      yield [join(path, name), plainRecipe(parameter)];
    }
    for (const [name, child] of module.namedChildren()) {
      yield* recipesOf(child, join(path, name), adapters);
    }
  }
}

/** The parameter itself, by a handle that the writer can dispose of. */
function plainRecipe(parameter: Parameter): Recipe {
  const { shape } = parameter;
  return { sources: [parameter], shape, isMerged: false, make: () => new Parameter(parameter, false) };
}

function mergedRecipe(layer: LoraLayer, adapters: readonly string[]): Recipe {
  const { weight } = layer;
  return { sources: [weight], shape: weight.shape, isMerged: true, make: () => layer.mergedWeight(adapters) };
}

/** Experts that were opened for adapters, stacked as the model stores them. */
function expertsRecipe({ experts, weights: sources }: LoraParallelExperts, adapters: readonly string[]): Recipe {
  const weights = (): Tensor[] =>
    experts.map((expert) => (expert instanceof LoraLayer ? expert.mergedWeight(adapters) : expert.weight));
  return {
    sources,
    shape: [experts.length, ...experts[0]!.weight.shape],
    isMerged: true,
    make: () => noGrad(() => scope(() => stack(weights(), 0))),
  };
}

function haveEqualResults(a: Recipe, b: Recipe): boolean {
  if (!a.isMerged && !b.isMerged && a.sources[0] === b.sources[0]) {
    return true;
  }
  using first = a.make();
  using second = b.make();
  return first.dtype === second.dtype && Buffer.compare(first.toBytes(), second.toBytes()) === 0;
}

function join(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}
