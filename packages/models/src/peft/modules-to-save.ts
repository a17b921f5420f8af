import { Module, type Parameter, type Tensor } from "@fms-accel/tensor";

import { AdapterModules } from "./adapter-modules.ts";
import type { AdapterState } from "./adapter-state.ts";
import { ownedParameter } from "./owned-parameter.ts";

/** Modules that have one tensor in and one out: layers, embeddings, norms, heads. */
export interface TensorModule extends Module {
  forward(x: Tensor, ...rest: unknown[]): unknown;
}

/** A copy of the parameters of a module, as a tree of modules with the same names and nothing else. */
export class ParameterTree extends Module {
  /** @param requiresGrad of the copies */
  constructor(source: Module, requiresGrad: boolean) {
    super();
    const fields = this as unknown as Record<string, unknown>;
    for (const [name, parameter] of source.ownParameters()) {
      fields[name] = ownedParameter(parameter, requiresGrad);
    }
    for (const [name, child] of source.namedChildren()) {
      fields[name] = new ParameterTree(child, requiresGrad);
    }
    this.train(source.training);
  }
}

/**
 * A module of `modules_to_save`: trained in full, a copy of its parameters for each adapter. While an adapter with a copy
 * is active, the module computes with it.
 */
export class ModulesToSaveWrapper extends Module {
  original_module: TensorModule;
  readonly modules_to_save: AdapterModules<ParameterTree>;
  readonly #state: AdapterState;

  constructor(original: TensorModule, state: AdapterState) {
    super();
    this.original_module = original;
    this.modules_to_save = new AdapterModules();
    this.#state = state;
    this.train(original.training);
  }

  /** Copies the original's parameters for an adapter. */
  addAdapter(adapter: string, requiresGrad: boolean): void {
    this.modules_to_save.set(adapter, new ParameterTree(this.original_module, requiresGrad));
  }

  /** Gives an adapter the weight that it has for another module, which shares its weight with this one. */
  addTiedAdapter(adapter: string, source: ModulesToSaveWrapper): void {
    const copy = new ParameterTree(this.original_module, true);
    const fields = copy as unknown as { weight: Parameter };
    fields.weight.dispose();
    fields.weight = new Map(source.adapterParameters(adapter)).get("weight")!;
    this.modules_to_save.set(adapter, copy);
  }

  deleteAdapter(adapter: string): void {
    this.modules_to_save.get(adapter)?.dispose();
    this.modules_to_save.delete(adapter);
  }

  /** Whether an adapter brings a copy of this module. */
  has(adapter: string): boolean {
    return this.modules_to_save.get(adapter) !== undefined;
  }

  /** Whether no adapter brings a copy. */
  get isEmpty(): boolean {
    return [...this.modules_to_save.children()].length === 0;
  }

  /** An adapter's copies by the names that they have in the module; none when the adapter has no copy. */
  adapterParameters(adapter: string): Iterable<[string, Parameter]> {
    return this.modules_to_save.get(adapter)?.namedParameters() ?? [];
  }

  /** The weight that `forward` would use. */
  get weight(): Parameter | undefined {
    return this.#inUse().find(([name]) => name === "weight")?.[1];
  }
  get bias(): Parameter | undefined {
    return this.#inUse().find(([name]) => name === "bias")?.[1];
  }

  forward(x: Tensor, ...rest: unknown[]): unknown {
    const adapter = this.#active();
    if (adapter === undefined) {
      return this.original_module.forward(x, ...rest);
    }
    const restore = exchange(this.original_module, [...this.adapterParameters(adapter)]);
    try {
      return this.original_module.forward(x, ...rest);
    } finally {
      restore();
    }
  }

  /** Makes an adapter's copies the parameters of the module for good. @returns the module */
  adopt(adapter: string): TensorModule {
    exchange(this.original_module, [...this.adapterParameters(adapter)]);
    return this.original_module;
  }

  #active(): string | undefined {
    return this.#state.enabled ? this.#state.active.find((name) => this.has(name)) : undefined;
  }

  #inUse(): readonly [string, Parameter][] {
    const adapter = this.#active();
    return [...(adapter === undefined ? this.original_module.ownParameters() : this.adapterParameters(adapter))];
  }
}

/** Puts parameters into a module by their paths. @returns what undoes it */
function exchange(module: Module, parameters: readonly (readonly [string, Parameter])[]): () => void {
  const undo = parameters.map(([path, parameter]) => {
    const dot = path.lastIndexOf(".");
    const owner = (dot < 0 ? module : module.getSubmodule(path.slice(0, dot))) as unknown as Record<string, unknown>;
    const field = path.slice(dot + 1);
    const before = owner[field];
    owner[field] = parameter;
    return () => {
      owner[field] = before;
    };
  });
  return () => undo.forEach((step) => step());
}
