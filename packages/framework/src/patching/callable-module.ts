import type { Module } from "@fms-accel/tensor";

/** A module that its parent calls through `forward`. */
export interface CallableModule extends Module {
  forward(...inputs: never[]): unknown;
}

/** The forward of a module as a plain function: what the module computes from its inputs. */
export type Forward<M extends CallableModule> = (...inputs: Parameters<M["forward"]>) => ReturnType<M["forward"]>;

/** A module's class. */
export type ModuleClass<M extends CallableModule> = abstract new (...args: never[]) => M;

/** Where a module stands in the model that is patched. */
export interface ModulePlace {
  /** Path from the model: "model.layers.0.self_attn.q_proj"; the model itself has the empty path. */
  readonly path: string;
  /** Last part of the path; of an element of a list the list's name: "q_proj", "layers". */
  readonly name: string;
  /** The module that it is a field of; `undefined` for the model. */
  readonly parent: Module | undefined;
  readonly parentPath: string;
}
