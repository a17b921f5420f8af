/** Embeddings and output heads: PEFT stores their weights with an adapter under some conditions. */
import { Embedding, Linear, type Module, type Parameter, type Tensor } from "@fms-accel/tensor";

import type { CausalLM } from "../modeling/causal-lm.ts";
import { PREFIX } from "./adapter-tensors.ts";
import { isHead, nameableModules } from "./inject.ts";
import type { LoraConfig } from "./lora-config.ts";
import { LoraLinear } from "./lora-linear.ts";
import { ownedParameter } from "./owned-parameter.ts";
import { compileFullMatch } from "./python-regex.ts";

/** What PEFT takes for embeddings and output heads, by the last part of their names. */
const VOCABULARY_MODULES: readonly string[] = ["embed_tokens", "lm_head"];

/**
 * The weights of embeddings and output heads by the names that they have in a file of PEFT if it stores them with an adapter: it does
 * where they are targets of the adapter, or where the vocabulary was resized.
 */
export function vocabularyWeights(model: CausalLM): Map<string, Parameter> {
  const named = new Map<string, Parameter>();
  for (const [path, module] of nameableModules(model)) {
    const inner = module instanceof LoraLinear ? module.base_layer : module;
    const isVocabulary =
      inner instanceof Embedding
        ? inner.num_embeddings === model.config.vocabSize
        : inner instanceof Linear && isHead(path);
    if (isVocabulary) {
      const place = inner === module ? path : `${path}.base_layer`;
      named.set(`${PREFIX}${place}.weight`, (inner as Embedding | Linear).weight);
    }
  }
  return named;
}

/** Whether PEFT stores the weights of adapted embeddings and heads with an adapter: where its targets name them so. */
export function targetsVocabulary(model: CausalLM, targets: LoraConfig["targetModules"]): boolean {
  if (typeof targets !== "string") {
    return VOCABULARY_MODULES.some((name) => targets?.includes(name) === true);
  }
  const expression = compileFullMatch(targets, "target_modules");
  return [...nameableModules(model).keys()].some(
    (path) => VOCABULARY_MODULES.includes(path.slice(path.lastIndexOf(".") + 1)) && expression.test(path),
  );
}

/**
 * Gives every module that uses a parameter the values of a tensor instead. The parameter itself may lie in a mapped file.
 * @returns whether the values differ
 */
export function replaceWeight(model: Module, parameter: Parameter, values: Tensor): boolean {
  const replacement = ownedParameter(parameter, false);
  replacement.copyFrom(values);
  if (Buffer.compare(replacement.toBytes(), parameter.toBytes()) === 0) {
    replacement.dispose();
    return false;
  }
  for (const [, module] of model.namedModules()) {
    for (const [name, own] of module.ownParameters()) {
      if (own === parameter) {
        (module as unknown as Record<string, Parameter>)[name] = replacement;
      }
    }
  }
  return true;
}
