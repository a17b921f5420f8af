import type { Module } from "@fms-accel/tensor";
import { PatchError } from "../errors.ts";
import type { CallableModule, Forward, ModulePlace } from "./callable-module.ts";
import type { ModuleTrigger } from "./module-trigger.ts";

/** What a builder of forwards may look at. */
export interface PatchSite<M extends CallableModule> extends ModulePlace {
  /** The forward that is replaced, bound to its module: the composed computation, for cases that a kernel does not cover. */
  readonly original: Forward<M>;
  /** The model that is patched. */
  readonly model: Module;
}

/** One of several forwards that a builder makes for a module and what is below it. */
export interface PatchBranch {
  readonly trigger: ModuleTrigger;
  readonly forward: (module: CallableModule, ...inputs: never[]) => unknown;
}

/**
 * How some modules of a model compute instead of their own forward. At most one of `forward` and `forwardBuilder`; with neither the rule
 * only records which modules it found.
 */
export interface ModelPatcherRuleDefinition<M extends CallableModule> {
  /** Name in summaries and errors, one in a framework: "llama-rms". */
  readonly id: string;
  readonly trigger: ModuleTrigger<M>;
  /** Computes what the module's own forward does, with the same inputs and result. */
  readonly forward?: (module: M, ...inputs: Parameters<M["forward"]>) => ReturnType<M["forward"]>;
  /**
   * Makes the forward of one module; called once a module, so that what depends on the module alone is found out beforehand. A list of
   * branches replaces forwards of the module and of what is below it, as rules "ID-1", "ID-2", …; `undefined` leaves the module as it is.
   */
  readonly forwardBuilder?: (module: M, site: PatchSite<M>) => Forward<M> | readonly PatchBranch[] | undefined;
}

/** A rule of any module class. Made by `modelPatcherRule`, which checks it. */
export interface ModelPatcherRule {
  readonly id: string;
  readonly trigger: ModuleTrigger;
  readonly forward: ((module: CallableModule, ...inputs: never[]) => unknown) | undefined;
  readonly forwardBuilder:
    | ((
        module: CallableModule,
        site: PatchSite<CallableModule>,
      ) => Forward<CallableModule> | readonly PatchBranch[] | undefined)
    | undefined;
}

/**
 * @example
 * modelPatcherRule({ id: "llama-rms", trigger: moduleIs(RMSNorm), forward: (norm, x) => fastRmsNorm(x, norm.weight, norm.eps) });
 * @throws PatchError for a rule without an id, or with both a forward and a builder
 */
export function modelPatcherRule<M extends CallableModule>(
  definition: ModelPatcherRuleDefinition<M>,
): ModelPatcherRule {
  const { id, trigger, forward, forwardBuilder } = definition;
  if (id === "") throw new PatchError("A rule needs an id.");
  if (forward !== undefined && forwardBuilder !== undefined)
    throw new PatchError(`Rule "${id}" has a forward and a builder of forwards. Give at most one of them.`);
  // The trigger chooses modules of class M only: the functions are never called with another.
  return { id, trigger, forward, forwardBuilder } as unknown as ModelPatcherRule;
}

/** A branch for a builder to return. */
export function patchBranch<M extends CallableModule>(
  trigger: ModuleTrigger<M>,
  forward: (module: M, ...inputs: Parameters<M["forward"]>) => ReturnType<M["forward"]>,
): PatchBranch {
  return { trigger, forward } as unknown as PatchBranch;
}
