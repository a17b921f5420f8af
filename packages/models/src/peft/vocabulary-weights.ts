/** Embeddings and output heads: PEFT stores their weights with an adapter under some conditions. */
import { Embedding, Linear, type Module, type Parameter, type Tensor } from "@fms-accel/tensor";

import type { CausalLMConfig } from "../config/causal-lm-config.ts";
import type { CausalLM } from "../modeling/causal-lm.ts";
import { PREFIX } from "./adapter-tensors.ts";
import { innerLayer, isHead, nameableModules } from "./inject.ts";
import type { LoraConfig } from "./lora-config.ts";
import type { WeightedModule } from "./lora-layer.ts";
import { ownedParameter } from "./owned-parameter.ts";
import { compileFullMatch } from "./python-regex.ts";
import { tiedPaths } from "./weight-tying.ts";

/** What PEFT takes for embeddings and output heads, by the last part of their names. */
const VOCABULARY_MODULES: readonly string[] = ["embed_tokens", "lm_head"];

/**
 * The weights of embeddings and output heads by the names that they have in a file of PEFT if it stores them with an adapter: it
 * does where they are targets of the adapter, or where the vocabulary was resized.
 * @param adapted paths of modules that are going to be adapted
 */
export function vocabularyWeights(model: CausalLM, adapted: readonly string[] = []): Map<string, Parameter> {
  const named = new Map<string, Parameter>();
  for (const [path, module] of nameableModules(model)) {
    const inner = innerLayer(module);
    const isEmbedding = inner instanceof Embedding && inner.num_embeddings === model.config.vocabSize;
    if (isEmbedding || (inner instanceof Linear && isHead(path))) {
      const place = inner !== module || adapted.includes(path) ? `${path}.base_layer` : path;
      named.set(`${PREFIX}${place}.weight`, inner.weight);
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
 * Gives every module that uses a parameter one with other values instead. The parameter itself may lie in a mapped file.
 * @param read fills a tensor of the parameter's shape and dtype with the values
 * @returns whether they differ
 */
export function replaceWeight(model: Module, parameter: Parameter, read: (into: Tensor) => void): boolean {
  const replacement = ownedParameter(parameter, false);
  read(replacement);
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

/**
 * Lets the configuration of a model with merged weights say the truth: an adapter of one of two tied weights makes them
 * different, and a checkpoint that calls them tied would lose one of them. Where both changed alike they are one again.
 */
export function untieDifferentWeights(model: CausalLM): void {
  for (const { path, embedding } of tiedPaths(model)) {
    const [kept, alias] = [model.getSubmodule(embedding), model.getSubmodule(path)] as unknown as WeightedModule[];
    if (kept!.weight !== alias!.weight && Buffer.compare(kept!.weight.toBytes(), alias!.weight.toBytes()) === 0) {
      alias!.weight.dispose();
      alias!.weight = kept!.weight;
    }
  }
  const weights = model.stateDict();
  if (model.tiedWeights().some(([kept, alias]) => weights.get(kept) !== weights.get(alias))) {
    setTied(model, false);
  }
}

/** Lets the configuration of a model say whether embedding and head share their weight. */
export function setTied(model: CausalLM, tieWordEmbeddings: boolean): void {
  const mutable: { config: CausalLMConfig } = model;
  const raw = { ...model.config.raw, tie_word_embeddings: tieWordEmbeddings };
  mutable.config = { ...model.config, tieWordEmbeddings, raw };
}
