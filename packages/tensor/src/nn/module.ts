import { TensorError } from "../errors.ts";
import { keep } from "../scope.ts";
import type { Tensor } from "../tensor.ts";
import { Parameter } from "./parameter.ts";

interface Buffer {
  tensor: Tensor;
  persistent: boolean;
}

/**
 * A part of a model. Fields that hold a Parameter, a Module or a list of Modules make up its tree, in the order of assignment;
 * a field's name is its name in the state dict, so fields are named as in the checkpoint ("q_proj").
 */
export abstract class Module {
  /** Whether dropout and the like are active. Set by `train` and `eval`. */
  training = true;
  readonly #buffers = new Map<string, Buffer>();

  /** Direct children with their names; the elements of a list are named "layers.0", "layers.1", … */
  *namedChildren(): Iterable<[string, Module]> {
    for (const [name, value] of Object.entries(this)) {
      if (value instanceof Module) yield [name, value];
      else if (Array.isArray(value)) {
        for (const [index, element] of value.entries())
          if (element instanceof Module) yield [`${name}.${index}`, element];
      }
    }
  }
  *children(): Iterable<Module> {
    for (const [, child] of this.namedChildren()) yield child;
  }
  /** This module under the name `prefix`, then all below it, parents first. */
  *namedModules(prefix = ""): Iterable<[string, Module]> {
    yield [prefix, this];
    for (const [name, child] of this.namedChildren()) yield* child.namedModules(join(prefix, name));
  }
  /** Every parameter below this module; one that is tied to several places appears once, under its first name. */
  *namedParameters(): Iterable<[string, Parameter]> {
    const seen = new Set<Parameter>();
    for (const [path, module] of this.namedModules()) {
      for (const [name, parameter] of module.ownParameters()) {
        if (seen.has(parameter)) continue;
        seen.add(parameter);
        yield [join(path, name), parameter];
      }
    }
  }
  *parameters(): Iterable<Parameter> {
    for (const [, parameter] of this.namedParameters()) yield parameter;
  }
  /** The parameters that are fields of this very module. */
  *ownParameters(): Iterable<[string, Parameter]> {
    for (const [name, value] of Object.entries(this)) if (value instanceof Parameter) yield [name, value];
  }
  *namedBuffers(): Iterable<[string, Tensor]> {
    for (const [path, module] of this.namedModules()) {
      for (const [name, { tensor }] of module.#buffers) yield [join(path, name), tensor];
    }
  }

  /** A tensor that belongs to the module but is not trained; persistent ones are part of the state dict. The module owns it. */
  registerBuffer(name: string, tensor: Tensor, { persistent = true }: { persistent?: boolean } = {}): Tensor {
    this.#buffers.set(name, { tensor: keep(tensor), persistent });
    return tensor;
  }

  /** The module at a path such as "model.layers.0.self_attn". Throws TensorError with the names that exist. */
  getSubmodule(path: string): Module {
    if (path === "") return this;
    // A child's name may itself contain a dot ("layers.0").
    for (const [name, child] of this.namedChildren()) {
      if (path === name || path.startsWith(`${name}.`)) return child.getSubmodule(path.slice(name.length + 1));
    }
    const names = [...this.namedChildren()].map(([name]) => name).join(", ");
    throw new TensorError(
      `no module ${JSON.stringify(path)} in ${this.constructor.name}, which has ${names || "no children"}`,
    );
  }

  /** Puts `module` in the place of the one at `path`. Throws TensorError when nothing stands there. */
  setSubmodule(path: string, module: Module): void {
    this.getSubmodule(path);
    const parts = path.split(".");
    const last = parts.pop() as string;
    const index = Number(last);
    if (Number.isInteger(index) && last !== "") {
      const list = parts.pop() as string;
      const parent = this.getSubmodule(parts.join("."));
      ((parent as unknown as Record<string, Module[]>)[list] as Module[])[index] = module;
      return;
    }
    (this.getSubmodule(parts.join(".")) as unknown as Record<string, Module>)[last] = module;
  }

  /** All parameters and persistent buffers by name; tied ones under each of their names. */
  stateDict(): Map<string, Tensor> {
    const state = new Map<string, Tensor>();
    for (const [path, module] of this.namedModules()) {
      for (const [name, parameter] of module.ownParameters()) state.set(join(path, name), parameter);
      for (const [name, { tensor, persistent }] of module.#buffers) if (persistent) state.set(join(path, name), tensor);
    }
    return state;
  }

  train(mode = true): this {
    for (const [, module] of this.namedModules()) module.training = mode;
    return this;
  }
  eval(): this {
    return this.train(false);
  }
  /** Freezes or unfreezes every parameter. */
  requiresGrad_(flag: boolean): this {
    for (const parameter of this.parameters()) parameter.requiresGrad = flag;
    return this;
  }
  /** Disposes every parameter and buffer. */
  dispose(): void {
    for (const tensor of this.stateDict().values()) tensor.dispose();
    for (const [, tensor] of this.namedBuffers()) tensor.dispose();
  }
}

/** A list of modules: an array, whose elements are named "layers.0", "layers.1", … by the field that holds it. */
export type ModuleList<T extends Module> = T[];

function join(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}
