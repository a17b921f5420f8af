import { AdapterConfigError } from "./errors.ts";
import type { LoraConfig } from "./lora-config.ts";
import { compileFullMatch, compileMatch } from "./python-regex.ts";

/** What a configuration says of one module. */
export type TargetMatch = "target" | "excluded" | "none";

/** Word for `target_modules` that stands for every linear layer but the output head. */
const ALL_LINEAR = "all-linear";

/** Whether `target_modules` is the word `all-linear` (in any case, as in PEFT). */
export function isAllLinear(targets: LoraConfig["targetModules"]): boolean {
  return typeof targets === "string" && targets.toLowerCase() === ALL_LINEAR;
}

/**
 * Compiles the module selection of a configuration, PEFT's `check_target_module_exists`: exclusions first, then modules to save,
 * then targets; a name in a target list matches as a whole or as an ending behind a point.
 *
 * @param config with target modules that are neither null nor `all-linear`
 * @returns what the configuration says of a module, given its path
 * @throws AdapterConfigError for an expression that is not valid or not translatable
 */
export function compileTargets(config: LoraConfig): (name: string) => TargetMatch {
  const isExcluded = compileNames(config.excludeModules ?? [], "exclude_modules");
  const isSaved = compileModulesToSave(config.modulesToSave ?? []);
  const isTarget = compileTargetNames(config);
  return (name) => {
    if (isExcluded(name) || isSaved(name)) {
      return "excluded";
    }
    return isTarget(name) ? "target" : "none";
  };
}

/**
 * The value of `rank_pattern` or `alpha_pattern` for a module: the first key that matches its path as a whole or as an ending
 * behind a point. Keys are Python expressions.
 */
export function compilePatterns<T>(
  patterns: Readonly<Record<string, T>>,
  where: string,
): { find: (name: string) => T | undefined; unused: () => readonly string[] } {
  const entries = Object.entries(patterns).map(([key, value]) => ({
    key,
    value,
    matches: compileMatch(`(.*\\.)?(${key})$`, where),
  }));
  const seen = new Set<string>();
  return {
    find: (name) => {
      const matching = entries.filter((entry) => entry.matches.test(name));
      matching.forEach((entry) => seen.add(entry.key));
      return matching[0]?.value;
    },
    unused: () => entries.map((entry) => entry.key).filter((key) => !seen.has(key)),
  };
}

/**
 * Whether a module is one of `modules_to_save`: its path ends with one of the names. As in PEFT no point is needed before it, so
 * `norm` also means `input_layernorm`.
 */
export function isModuleToSave(name: string, modulesToSave: readonly string[]): boolean {
  return modulesToSave.some((wanted) => name.endsWith(wanted));
}

function compileNames(names: string | readonly string[], where: string): (name: string) => boolean {
  if (typeof names === "string") {
    if (names === "") {
      return () => false;
    }
    const expression = compileFullMatch(names, where);
    return (name) => expression.test(name);
  }
  return (name) => names.some((wanted) => name === wanted || name.endsWith(`.${wanted}`));
}

/** Modules to save, and all that is inside them, get no adapter. PEFT puts their names into an expression as they are. */
function compileModulesToSave(names: readonly string[]): (name: string) => boolean {
  const expressions = names.map((name) => compileMatch(`(^|.*\\.)${name}($|\\..*)`, "modules_to_save"));
  return (name) => expressions.some((expression) => expression.test(name));
}

function compileTargetNames(config: LoraConfig): (name: string) => boolean {
  const targets = config.targetModules;
  if (targets === null || isAllLinear(targets)) {
    throw new AdapterConfigError("target_modules must be resolved against the model first.");
  }
  if (typeof targets === "string") {
    return compileNames(targets, "target_modules");
  }
  const whole = new Set(targets);
  const isInLayer = compileLayers(config);
  // A name given in full is meant as it is: layers_to_transform only narrows endings down.
  return (name) => whole.has(name) || (targets.some((wanted) => name.endsWith(`.${wanted}`)) && isInLayer(name));
}

function compileLayers(config: LoraConfig): (name: string) => boolean {
  const wanted = config.layersToTransform;
  if (wanted === null || (typeof wanted !== "number" && wanted.length === 0)) {
    return () => true;
  }
  const indices = new Set(typeof wanted === "number" ? [wanted] : wanted);
  const given = config.layersPattern ?? [];
  const patterns = typeof given === "string" ? [given].filter((text) => text !== "") : given;
  const expressions =
    patterns.length === 0
      ? [compileMatch(".*?\\.[^.]*\\.(?P<idx>\\d+)\\.", "layers_pattern")]
      : patterns.map((pattern) => compileMatch(`(?:^|.*?\\.)${pattern}\\.(?P<idx>\\d+)\\.`, "layers_pattern"));
  return (name) => {
    for (const expression of expressions) {
      const match = expression.exec(name);
      if (match !== null) {
        return indices.has(Number(match.groups?.["idx"]));
      }
    }
    return false;
  };
}
