import { type ConfigSource, configError, preview } from "../config/config-source.ts";
import { didYouMean } from "../messages/did-you-mean.ts";
import type { Architecture } from "./architecture.ts";
import { gemma } from "./gemma.ts";
import { gemma2 } from "./gemma2.ts";
import { gemma3Text } from "./gemma3-text.ts";
import { gptBigCode } from "./gpt-bigcode.ts";
import { gptNeoX } from "./gpt-neox.ts";
import { gpt2 } from "./gpt2.ts";
import { granite } from "./granite.ts";
import { graniteMoe } from "./granitemoe.ts";
import { graniteMoeShared } from "./granitemoeshared.ts";
import { llama } from "./llama.ts";
import { mistral } from "./mistral.ts";
import { mixtral } from "./mixtral.ts";
import { olmo2 } from "./olmo2.ts";
import { phi3 } from "./phi3.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";
import { qwen3Moe } from "./qwen3-moe.ts";
import { smolLM3 } from "./smollm3.ts";
import { stableLm } from "./stablelm.ts";
import { starcoder2 } from "./starcoder2.ts";

/** Every architecture that this package opens. */
export const ARCHITECTURES: readonly Architecture[] = [
  llama,
  mistral,
  qwen2,
  qwen3,
  granite,
  phi3,
  olmo2,
  smolLM3,
  gemma,
  gemma2,
  gemma3Text,
  starcoder2,
  stableLm,
  gptBigCode,
  gpt2,
  gptNeoX,
  mixtral,
  graniteMoe,
  graniteMoeShared,
  qwen3Moe,
];

/** Finds the architecture of a configuration by `architectures` and `model_type`, which must not contradict each other. */
export function findArchitecture(source: ConfigSource): Architecture {
  const { architectures, model_type: modelType } = source.json;
  const names = ARCHITECTURES.map((architecture) => architecture.name);
  if (architectures != null) {
    if (!Array.isArray(architectures) || architectures.length !== 1 || typeof architectures[0] !== "string") {
      throw configError(
        source,
        ["architectures"],
        `expected a list of one name such as ["${names[0]}"], found ${preview(architectures)}`,
      );
    }
    const [name] = architectures as [string];
    const found = ARCHITECTURES.find((architecture) => architecture.name === name);
    if (found === undefined) {
      throw configError(
        source,
        ["architectures"],
        `${preview(name)} is not supported.${didYouMean(name, names)} Supported: ${names.join(", ")}`,
      );
    }
    if (modelType !== found.modelType) {
      throw configError(
        source,
        ["model_type"],
        `expected "${found.modelType}" for ${name}, found ${preview(modelType)}`,
      );
    }
    return found;
  }
  const found = ARCHITECTURES.find((architecture) => architecture.modelType === modelType);
  if (found === undefined) {
    const types = ARCHITECTURES.map((architecture) => architecture.modelType);
    throw configError(
      source,
      ["model_type"],
      `expected one of ${types.join(", ")}, found ${preview(modelType)}.${typeof modelType === "string" ? didYouMean(modelType, types) : ""}`,
    );
  }
  return found;
}
