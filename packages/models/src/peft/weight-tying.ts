/** `ensure_weight_tying`: adapters of an embedding and of the output head that shares its weight are one. */
import type { CausalLM } from "../modeling/causal-lm.ts";
import type { LoraConfig } from "./lora-config.ts";
import { compileFullMatch, compileMatch } from "./python-regex.ts";

/** A module that shares its weight with the embedding. */
export interface TiedPaths {
  readonly path: string;
  readonly embedding: string;
}

/** What tying means for a configuration. */
export interface Tying {
  /** The configuration with the embedding among its modules, and without those that share its weight. */
  readonly config: LoraConfig;
  /** Modules that take the embedding's adapter. */
  readonly targets: readonly TiedPaths[];
  /** Modules that take the embedding's copy of `modules_to_save`. */
  readonly saved: readonly TiedPaths[];
  readonly warnings: readonly string[];
}

/** The names by which PEFT knows embeddings and heads in a configuration. */
const VOCABULARY_NAMES: readonly string[] = ["embed_tokens", "lm_head"];

/** The modules of a model that share the embedding's weight. */
export function tiedPaths(model: CausalLM): readonly TiedPaths[] {
  return model.tiedWeights().map(([kept, alias]) => ({ path: moduleOf(alias), embedding: moduleOf(kept) }));
}

/** Settles `ensure_weight_tying` as PEFT does; without it, nothing is changed. */
export function tieWeights(model: CausalLM, config: LoraConfig): Tying {
  const none: Tying = { config, targets: [], saved: [], warnings: [] };
  if (!config.ensureWeightTying) {
    return none;
  }
  const tied = tiedPaths(model);
  const [first] = tied;
  if (first === undefined) {
    return { ...none, warnings: ["ensure_weight_tying is set, but no two modules of the model share a weight"] };
  }
  const heads = tied.map(({ path }) => path);
  const { modulesToSave, targetModules } = config;
  if ((modulesToSave ?? []).some(isVocabulary)) {
    const changed = withEmbedding(modulesToSave ?? [], first.embedding, heads);
    return { ...none, config: config.with({ modulesToSave: changed }), saved: tied };
  }
  if (typeof targetModules === "string" && VOCABULARY_NAMES.some((name) => matches(targetModules, name))) {
    const escaped = first.embedding.replaceAll(".", "\\.");
    const expression = targetModules.endsWith(`|^${escaped}$)`) ? targetModules : `(?:${targetModules}|^${escaped}$)`;
    return { ...none, config: config.with({ targetModules: expression }), targets: tied };
  }
  if (typeof targetModules !== "string" && (targetModules ?? []).some(isVocabulary)) {
    const changed = withEmbedding(targetModules ?? [], first.embedding, heads);
    return { ...none, config: config.with({ targetModules: changed }), targets: tied };
  }
  return {
    ...none,
    warnings: ["ensure_weight_tying is set, but neither embedding nor head is in target_modules or modules_to_save"],
  };
}

function isVocabulary(name: string): boolean {
  return VOCABULARY_NAMES.includes(name.slice(name.lastIndexOf(".") + 1));
}

function matches(expression: string, name: string): boolean {
  return compileFullMatch(expression, "target_modules").test(name);
}

/** The names with the embedding's own, and for each head without the first that means it. */
function withEmbedding(names: readonly string[], embedding: string, heads: readonly string[]): readonly string[] {
  const changed = [...new Set([...names, embedding])];
  for (const head of heads) {
    const at = changed.findIndex((name) => compileMatch(`(^|.*\\.)${name}($|\\..*)`, "target_modules").test(head));
    if (at >= 0) {
      changed.splice(at, 1);
    }
  }
  return changed;
}

function moduleOf(weight: string): string {
  return weight.slice(0, weight.lastIndexOf("."));
}
