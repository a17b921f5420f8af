import type { Module } from "@fms-accel/tensor";
import { PatchError } from "../errors.ts";
import type { CallableModule, Forward, ModulePlace } from "./callable-module.ts";
import { modelPatcherRule, type ModelPatcherRule, type PatchBranch } from "./model-patcher-rule.ts";
import { modulePlaces } from "./module-places.ts";
import { isCallable } from "./module-trigger.ts";
import { summarisePatches, type PatchConflict, type PatchRecord } from "./patch-report.ts";
import { hasReplacedForward, replaceForward } from "./replace-forward.ts";

interface OwnedRule {
  readonly rule: ModelPatcherRule;
  readonly owner: string;
}

/** What stands in a conflict for a forward that this patcher did not put there. */
const FOREIGN = "of another patcher";

/**
 * Replaces the forwards of a model's modules by rules. On every module the first rule that triggers holds, in the order of registration;
 * a later one is reported as a conflict. A patcher knows its own rules and models only, and `undo` takes everything back.
 */
export class ModelPatcher {
  readonly #rules: OwnedRule[] = [];
  readonly #models = new Set<Module>();
  /** The rule that holds a module. */
  readonly #holders = new Map<Module, string>();
  readonly #records: PatchRecord[] = [];
  readonly #conflicts: PatchConflict[] = [];
  readonly #restores: (() => void)[] = [];

  /**
   * @param owner who brings the rule, for errors and the report
   * @throws PatchError when there is a rule of this id
   */
  register(rule: ModelPatcherRule, owner = ""): void {
    const known = this.#rules.find((other) => other.rule.id === rule.id);
    if (known !== undefined) {
      const by = [known.owner, owner].map((name) => (name === "" ? "the program" : name)).join(" and ");
      throw new PatchError(`Rule "${rule.id}" is registered twice, by ${by}. Ids of rules are unique.`);
    }
    this.#rules.push({ rule, owner });
  }

  get rules(): readonly ModelPatcherRule[] {
    return this.#rules.map(({ rule }) => rule);
  }
  /** What was done, module by module, parents first. */
  get records(): readonly PatchRecord[] {
    return this.#records;
  }
  get conflicts(): readonly PatchConflict[] {
    return this.#conflicts;
  }

  /**
   * Applies the rules to a model; if that fails, the model is as before.
   *
   * @throws PatchError when this patcher has patched the model already, or a builder fails
   */
  patch(model: Module): void {
    if (this.#models.has(model))
      throw new PatchError("The model is patched already. Call undo before it is patched again.");
    this.#models.add(model);
    try {
      for (const [module, place] of modulePlaces(model)) this.#visit(this.#rules, module, place, model);
    } catch (error) {
      this.undo();
      throw error;
    }
  }

  /** Gives every module its own forward back and forgets what was done. The rules stay. */
  undo(): void {
    for (const restore of this.#restores.toReversed()) restore();
    for (const list of [this.#restores, this.#records, this.#conflicts]) list.length = 0;
    this.#models.clear();
    this.#holders.clear();
  }

  /** One line for each rule, module name and class, with how many modules they are; empty when nothing was patched. */
  summary(): string {
    return summarisePatches(this.#records);
  }

  #visit(rules: readonly OwnedRule[], module: Module, place: ModulePlace, model: Module): void {
    if (!isCallable(module)) return;
    for (const { rule, owner } of rules) {
      if (!rule.trigger.matches(module, place)) continue;
      const appliedRuleId = this.#holders.get(module) ?? (hasReplacedForward(module) ? FOREIGN : undefined);
      if (appliedRuleId === undefined) this.#apply({ rule, owner }, module, place, model);
      else this.#conflicts.push({ path: place.path, moduleName: place.name, ruleId: rule.id, appliedRuleId });
    }
  }

  #apply({ rule, owner }: OwnedRule, module: CallableModule, place: ModulePlace, model: Module): void {
    const forward = this.#forwardOf(rule, module, place, model);
    if (forward === "declined") return;
    if (typeof forward === "object") {
      const branches = forward.map((branch, index) => ({
        rule: modelPatcherRule({ id: `${rule.id}-${index + 1}`, ...branch }),
        owner,
      }));
      for (const [below, at] of modulePlaces(module, place)) this.#visit(branches, below, at, model);
      return;
    }
    if (forward !== undefined) this.#restores.push(replaceForward(module, forward));
    this.#holders.set(module, rule.id);
    this.#records.push({
      ruleId: rule.id,
      owner,
      path: place.path,
      moduleName: place.name,
      moduleClass: module.constructor.name,
      parentPath: place.parentPath,
      parentClass: place.parent?.constructor.name ?? "",
    });
  }

  /** What a rule makes of a module: a forward, branches, nothing because it only records (`undefined`), or nothing at all. */
  #forwardOf(
    { id, forward, forwardBuilder }: ModelPatcherRule,
    module: CallableModule,
    place: ModulePlace,
    model: Module,
  ): Forward<CallableModule> | readonly PatchBranch[] | "declined" | undefined {
    if (forward !== undefined) return (...inputs) => forward(module, ...inputs);
    if (forwardBuilder === undefined) return undefined;
    try {
      return forwardBuilder(module, { ...place, original: module.forward.bind(module), model }) ?? "declined";
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new PatchError(`Rule "${id}" makes no forward for ${place.path || "the model"}: ${reason}`, {
        cause: error,
      });
    }
  }
}
