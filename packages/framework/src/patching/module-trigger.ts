import type { Module } from "@fms-accel/tensor";
import type { CallableModule, ModuleClass, ModulePlace } from "./callable-module.ts";

/** Chooses the modules that a rule is for. `M` is what they are, so that the rule's forward is typed by it. */
export interface ModuleTrigger<M extends CallableModule = CallableModule> {
  matches(module: Module, place: ModulePlace): module is M;
}

export interface TriggerOptions {
  /** The module must have this name, the last part of its path: "q_proj". */
  readonly moduleName?: string;
}

/** Modules of a class and of those that extend it. */
export function moduleIs<M extends CallableModule>(
  moduleClass: ModuleClass<M>,
  { moduleName }: TriggerOptions = {},
): ModuleTrigger<M> {
  return {
    matches: (module, place): module is M =>
      module instanceof moduleClass && (moduleName === undefined || place.name === moduleName),
  };
}

/**
 * Modules for which `check` returns true. A check may look for what not every module has: if it throws a TypeError, the module is not
 * meant. Other errors are the rule's and go on.
 */
export function moduleWhere<M extends CallableModule = CallableModule>(
  check:
    | ((module: CallableModule, place: ModulePlace) => module is M)
    | ((module: CallableModule, place: ModulePlace) => boolean),
  { moduleName }: TriggerOptions = {},
): ModuleTrigger<M> {
  return {
    matches(module, place): module is M {
      if (!isCallable(module) || (moduleName !== undefined && place.name !== moduleName)) return false;
      try {
        return check(module, place);
      } catch (error) {
        if (error instanceof TypeError) return false;
        throw error;
      }
    },
  };
}

/** Modules that every trigger chooses; the first one says what they are. */
export function allOf<M extends CallableModule>(
  first: ModuleTrigger<M>,
  ...others: readonly ModuleTrigger[]
): ModuleTrigger<M> {
  return {
    matches: (module, place): module is M =>
      first.matches(module, place) && others.every((trigger) => trigger.matches(module, place)),
  };
}

type ModuleOf<Trigger> = Trigger extends ModuleTrigger<infer M> ? M : never;

/** Modules that at least one of the triggers chooses. */
export function anyOf<const Triggers extends readonly ModuleTrigger[]>(
  ...triggers: Triggers
): ModuleTrigger<ModuleOf<Triggers[number]>> {
  return {
    matches: (module, place): module is ModuleOf<Triggers[number]> =>
      triggers.some((trigger) => trigger.matches(module, place)),
  };
}

export function isCallable(module: Module): module is CallableModule {
  return "forward" in module && typeof module.forward === "function";
}
