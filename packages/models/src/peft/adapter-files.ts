import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";

import { noGrad, type Parameter, type Tensor } from "@fms-accel/tensor";

import { writeTextAtomically } from "../files/atomic-write.ts";
import { listNames } from "../messages/did-you-mean.ts";
import { SafetensorsFile } from "../safetensors/safetensors-file.ts";
import { writeSafetensors } from "../safetensors/writer.ts";
import { AdapterError } from "./errors.ts";
import { ADAPTER_CONFIG_NAME, type LoraConfig } from "./lora-config.ts";
import { PEFT_VERSION } from "./lora-config-fields.ts";

/** Name of the weights in an adapter directory. */
export const ADAPTER_WEIGHTS_NAME = "adapter_model.safetensors";
const PICKLED_WEIGHTS_NAME = "adapter_model.bin";
const MODEL_CARD_NAME = "README.md";

/** Problems of one kind that a message names before it counts the rest. */
const LISTED = 6;

/**
 * Writes an adapter directory in PEFT's layout: adapter_model.safetensors, adapter_config.json, and a model card unless there is one.
 * The configuration goes last, so that a directory that has one is complete.
 */
export function writeAdapter(directory: string, config: LoraConfig, tensors: ReadonlyMap<string, Tensor>): void {
  mkdirSync(directory, { recursive: true });
  const card = join(directory, MODEL_CARD_NAME);
  if (!existsSync(card)) {
    writeTextAtomically(card, modelCard(config));
  }
  writeSafetensors(join(directory, ADAPTER_WEIGHTS_NAME), tensors);
  writeTextAtomically(join(directory, ADAPTER_CONFIG_NAME), config.toJson());
}

/**
 * Fills an adapter's parameters from its directory, converting to their dtype.
 * @param parameters by their names in the file
 * @param optional tensors that the file may hold besides, by their names
 * @returns those of the optional tensors that the file holds; the caller disposes them
 * @throws AdapterError listing every tensor that is missing, unexpected, or of another shape
 * @throws SafetensorsError when the file is damaged
 */
export function readAdapterWeights(
  directory: string,
  parameters: ReadonlyMap<string, Parameter>,
  optional: ReadonlyMap<string, Tensor>,
): Map<string, Tensor> {
  const path = join(directory, ADAPTER_WEIGHTS_NAME);
  if (!existsSync(path)) {
    throw new AdapterError(describeMissingFile(directory));
  }
  using file = SafetensorsFile.open(path);
  checkTensors(path, file, parameters, optional);
  return noGrad(() => {
    for (const [name, parameter] of parameters) {
      using stored = file.tensor(name);
      parameter.copyFrom(stored);
    }
    const found = [...optional.keys()].filter((name) => file.entries.has(name));
    return new Map(found.map((name) => [name, file.tensor(name)]));
  });
}

function describeMissingFile(directory: string): string {
  return existsSync(join(directory, PICKLED_WEIGHTS_NAME))
    ? `${directory}: holds ${PICKLED_WEIGHTS_NAME}, a pickle file: it can run any code when it is read, so it is not read here. ` +
        "Load it with PEFT where you trust it and save it again: save_pretrained writes safetensors."
    : `${directory}: expected ${ADAPTER_WEIGHTS_NAME}. Is the download, or the training that should write it, complete?`;
}

function checkTensors(
  path: string,
  file: SafetensorsFile,
  parameters: ReadonlyMap<string, Parameter>,
  optional: ReadonlyMap<string, Tensor>,
): void {
  const missing: string[] = [];
  const wrong: string[] = [];
  for (const [name, { shape }] of [...parameters, ...optional]) {
    const found = file.entries.get(name);
    if (found === undefined) {
      if (parameters.has(name)) {
        missing.push(name);
      }
    } else if (found.shape.join() !== shape.join()) {
      wrong.push(`${name} (expected [${shape.join(", ")}], found [${found.shape.join(", ")}])`);
    }
  }
  const unexpected = [...file.entries.keys()].filter((name) => !parameters.has(name) && !optional.has(name));
  const problems = [
    describe("of another shape", wrong),
    describe("missing", missing),
    describe("not part of the adapter", unexpected),
  ].filter((problem) => problem !== "");
  if (problems.length > 0) {
    const hint = wrong.length > 0 ? " It was probably trained on another base model." : "";
    throw new AdapterError(
      `${path}: the tensors do not fit the model and ${ADAPTER_CONFIG_NAME}.${hint}\n${problems.join("\n")}`,
    );
  }
}

function describe(what: string, names: readonly string[]): string {
  return names.length === 0 ? "" : `  ${names.length} ${what}: ${listNames(names, LISTED)}`;
}

/** A model card as the Hugging Face Hub reads it: what the adapter belongs to. */
function modelCard({ baseModelNameOrPath: base, useDora }: LoraConfig): string {
  const quoted = base === null ? undefined : JSON.stringify(base);
  const tags = [...(base === null ? [] : [`base_model:adapter:${base}`]), ...(useDora ? ["dora"] : []), "lora"];
  const data = [
    ...(quoted === undefined ? [] : [`base_model: ${quoted}`]),
    "library_name: peft",
    "pipeline_tag: text-generation",
    "tags:",
    ...tags.map((tag) => `- ${JSON.stringify(tag)}`),
  ];
  return [
    "---",
    ...data,
    "---",
    "",
    "# LoRA adapter",
    "",
    base === null ? "An adapter in PEFT's format." : `An adapter in PEFT's format for \`${base}\`.`,
    "",
    "### Framework versions",
    "",
    `- PEFT ${PEFT_VERSION}`,
    "",
  ].join("\n");
}
