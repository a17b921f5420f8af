import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";

import type { Tensor } from "@fms-accel/tensor";

import { writeTextAtomically } from "../files/atomic-write.ts";
import { listNames } from "../messages/did-you-mean.ts";
import { readSafetensorsHeader, SafetensorsFile } from "../safetensors/safetensors-file.ts";
import { writeSafetensors } from "../safetensors/writer.ts";
import { AdapterError } from "./errors.ts";
import { ADAPTER_CONFIG_NAME } from "./adapter-config-file.ts";
import { PEFT_VERSION } from "./lora-config-fields.ts";

/** Name of the weights in an adapter directory. */
export const ADAPTER_WEIGHTS_NAME = "adapter_model.safetensors";
const PICKLED_WEIGHTS_NAME = "adapter_model.bin";
const MODEL_CARD_NAME = "README.md";

/** Problems of one kind that a message names before it counts the rest. */
const LISTED = 6;

/** What a configuration tells of an adapter that is written. */
export interface AdapterDescription {
  readonly baseModelNameOrPath: string | null;
  /** Tags of the model card besides that of the base model. */
  readonly tags: readonly string[];
  toJson(): string;
}

/**
 * Writes an adapter directory in PEFT's layout: adapter_model.safetensors, adapter_config.json, and a model card unless there is one.
 * The configuration goes last, so that a directory that has one is complete.
 */
export function writeAdapter(
  directory: string,
  config: AdapterDescription,
  tensors: ReadonlyMap<string, Tensor>,
): void {
  mkdirSync(directory, { recursive: true });
  const card = join(directory, MODEL_CARD_NAME);
  if (!existsSync(card)) {
    writeTextAtomically(card, modelCard(config));
  }
  writeSafetensors(join(directory, ADAPTER_WEIGHTS_NAME), tensors);
  writeTextAtomically(join(directory, ADAPTER_CONFIG_NAME), config.toJson());
}

/** The weights of an adapter directory, checked against what the adapter must have. */
export class AdapterWeights implements Disposable {
  readonly #file: SafetensorsFile;
  /** The optional tensors that the file holds. */
  readonly optional: readonly string[];

  private constructor(file: SafetensorsFile, optional: readonly string[]) {
    this.#file = file;
    this.optional = optional;
  }

  /**
   * Opens the weights of an adapter; only the header is read.
   * @param required shapes of the tensors that the adapter must have, by name
   * @param optional shapes of tensors that it may have besides
   * @throws AdapterError listing every tensor that is missing, unexpected, or of another shape
   * @throws SafetensorsError when the file is damaged
   */
  static open(directory: string, required: Shapes, optional: Shapes): AdapterWeights {
    const path = join(directory, ADAPTER_WEIGHTS_NAME);
    if (!existsSync(path)) {
      throw new AdapterError(describeMissingFile(directory));
    }
    const file = SafetensorsFile.open(path);
    try {
      checkTensors(path, file, required, optional);
    } catch (error) {
      file.close();
      throw error;
    }
    return new AdapterWeights(
      file,
      [...optional.keys()].filter((name) => file.entries.has(name)),
    );
  }

  /** Hands a tensor of the file to `assign`; it lies in the mapped file and is closed afterwards. */
  read(name: string, assign: (stored: Tensor) => void): void {
    using stored = this.#file.tensor(name);
    assign(stored);
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** Names of the tensors of a saved adapter; none where its file is missing. */
export function storedNames(directory: string): ReadonlySet<string> {
  const path = join(directory, ADAPTER_WEIGHTS_NAME);
  return new Set(existsSync(path) ? readSafetensorsHeader(path).entries.keys() : []);
}

/** Shapes of tensors by name. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

function describeMissingFile(directory: string): string {
  return existsSync(join(directory, PICKLED_WEIGHTS_NAME))
    ? `${directory}: holds ${PICKLED_WEIGHTS_NAME}, a pickle file: it can run any code when it is read, so it is not read here. ` +
        "Load it with PEFT where you trust it and save it again: save_pretrained writes safetensors."
    : `${directory}: expected ${ADAPTER_WEIGHTS_NAME}. Is the download, or the training that should write it, complete?`;
}

function checkTensors(path: string, file: SafetensorsFile, required: Shapes, optional: Shapes): void {
  const missing = [...required.keys()].filter((name) => !file.entries.has(name));
  const unexpected = [...file.entries.keys()].filter((name) => !required.has(name) && !optional.has(name));
  const wrong: string[] = [];
  for (const [name, expected] of [...required, ...optional]) {
    const found = file.entries.get(name);
    if (found !== undefined && found.shape.join() !== expected.join()) {
      wrong.push(`${name} (expected [${expected.join(", ")}], found [${found.shape.join(", ")}])`);
    }
  }
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
function modelCard({ baseModelNameOrPath: base, tags: kinds }: AdapterDescription): string {
  const quoted = base === null ? undefined : JSON.stringify(base);
  const tags = [...(base === null ? [] : [`base_model:adapter:${base}`]), ...kinds];
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
    "# Adapter",
    "",
    base === null ? "An adapter in PEFT's format." : `An adapter in PEFT's format for \`${base}\`.`,
    "",
    "### Framework versions",
    "",
    `- PEFT ${PEFT_VERSION}`,
    "",
  ].join("\n");
}
