import type { CausalLM } from "../modeling/causal-lm.ts";
import { PREFIX } from "./adapter-tensors.ts";
import type { LoraConfig } from "./lora-config.ts";
import { tiedPaths } from "./weight-tying.ts";

/**
 * The configuration of a saved adapter, with the heads among its modules that share the embedding's adapter: as PEFT writes it they are left
 * out, and an embedding that has neither of PEFT's names for it would not be known again. PEFT itself loses the head's adapter then.
 * @param stored names of the tensors in its file
 */
export function withStoredHeads(model: CausalLM, config: LoraConfig, stored: ReadonlySet<string>): LoraConfig {
  const { ensureWeightTying, targetModules, modulesToSave } = config;
  if (!ensureWeightTying || typeof targetModules === "string") {
    return config;
  }
  const add = (names: readonly string[] | null, tensor: string): readonly string[] | null => {
    const heads = tiedPaths(model).filter(
      ({ path, embedding }) => names?.includes(embedding) === true && stored.has(`${PREFIX}${path}.${tensor}`),
    );
    return heads.length === 0 ? names : [...new Set([...(names ?? []), ...heads.map(({ path }) => path)])];
  };
  return config.with({
    targetModules: add(targetModules, "lora_A.weight"),
    modulesToSave: add(modulesToSave, "weight"),
  });
}
