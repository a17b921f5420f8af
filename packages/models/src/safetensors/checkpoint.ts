/** The weights of a model directory, in one file or in shards with an index, as one collection of named tensors. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";

import type { Tensor } from "@fms-accel/tensor";

import { CheckpointError } from "../errors.ts";
import { type JsonDocument, parseJson } from "../json/json-document.ts";
import { listNames } from "../messages/did-you-mean.ts";
import type { TensorEntry } from "./header.ts";
import { type MappingOptions, SafetensorsFile } from "./safetensors-file.ts";

export const SINGLE_FILE = "model.safetensors";
export const INDEX_FILE = "model.safetensors.index.json";

/** Where a tensor of a checkpoint lies. */
export interface CheckpointTensor extends TensorEntry {
  readonly file: string;
}

export class Checkpoint implements Disposable {
  readonly directory: string;
  readonly #files: ReadonlyMap<string, SafetensorsFile>;
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;

  private constructor(directory: string, files: readonly SafetensorsFile[]) {
    this.directory = directory;
    this.#files = new Map(files.map((file) => [file.path, file]));
    this.tensors = new Map(
      files.flatMap((file) => [...file.entries.values()].map((entry) => [entry.name, { ...entry, file: file.path }])),
    );
  }

  /**
   * Opens the weights of a directory; only headers are read.
   * @throws CheckpointError when there are none, when they are in another format, or when index and shards disagree
   * @throws SafetensorsError when a file is damaged
   */
  static open(directory: string, options: MappingOptions = {}): Checkpoint {
    const single = join(directory, SINGLE_FILE);
    if (existsSync(single)) {
      return new Checkpoint(directory, [SafetensorsFile.open(single, options)]);
    }
    const index = join(directory, INDEX_FILE);
    if (existsSync(index)) {
      return new Checkpoint(directory, openShards(directory, index, options));
    }
    throw new CheckpointError(describeMissingWeights(directory));
  }

  /** A tensor by its name, see `SafetensorsFile.tensor`. */
  tensor(name: string): Tensor {
    const file = this.#files.get(this.tensors.get(name)?.file ?? "");
    if (file === undefined) {
      throw new CheckpointError(`${this.directory}: the checkpoint has no tensor "${name}".`);
    }
    return file.tensor(name);
  }

  /** Gives up the files. Tensors that were taken from them stay valid. */
  close(): void {
    for (const file of this.#files.values()) {
      file.close();
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Opens all shards that an index names, and checks that both tell the same. */
function openShards(directory: string, index: string, options: MappingOptions): SafetensorsFile[] {
  const weightMap = readWeightMap(index);
  const shards = new Map<string, SafetensorsFile>();
  for (const shard of new Set(weightMap.values())) {
    // A shard lies beside its index: a name with a path in it could reach anywhere.
    if (shard !== basename(shard) || !shard.endsWith(".safetensors")) {
      throw new CheckpointError(
        `${index}: expected file names that end in .safetensors, without a path, found ${JSON.stringify(shard)}.`,
      );
    }
    if (!existsSync(join(directory, shard))) {
      throw new CheckpointError(`${index}: the shard ${shard} is missing in ${directory}. Is the download complete?`);
    }
    shards.set(shard, SafetensorsFile.open(join(directory, shard), options));
  }
  const problems: string[] = [];
  for (const [name, shard] of weightMap) {
    if (!shards.get(shard)!.entries.has(name)) {
      problems.push(`"${name}" should be in ${shard}, but is not`);
    }
  }
  for (const [shard, file] of shards) {
    for (const name of file.entries.keys()) {
      const place = weightMap.get(name);
      if (place !== shard) {
        problems.push(
          `"${name}" is in ${shard}, but the index ${place === undefined ? "does not list it" : `puts it into ${place}`}`,
        );
      }
    }
  }
  if (problems.length > 0) {
    throw new CheckpointError(`${index}: index and shards disagree: ${listNames(problems, 5)}.`);
  }
  return [...shards.values()];
}

/** Tensor name → shard file name. */
function readWeightMap(index: string): ReadonlyMap<string, string> {
  let document: JsonDocument;
  try {
    document = parseJson(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(readFileSync(index)));
  } catch (error) {
    throw new CheckpointError(`${index}: not valid JSON: ${(error as Error).message}`);
  }
  const [duplicate] = document.duplicateKeys;
  if (duplicate !== undefined) {
    throw new CheckpointError(`${index}: the key "${duplicate}" occurs twice.`);
  }
  const map = (document.value as { weight_map?: unknown } | null)?.weight_map;
  const entries = typeof map === "object" && map !== null && !Array.isArray(map) ? Object.entries(map) : [];
  if (entries.length === 0 || !entries.every((entry): entry is [string, string] => typeof entry[1] === "string")) {
    throw new CheckpointError(
      `${index}: weight_map: expected an object of tensor names and file names, found ${JSON.stringify(map)?.slice(0, 80)}.`,
    );
  }
  return new Map(entries);
}

/** Why a directory cannot be opened, and what to do about it. */
function describeMissingWeights(directory: string): string {
  if (!existsSync(directory) || !statSync(directory).isDirectory()) {
    return `${directory}: no such directory. Give the folder of a downloaded checkpoint.`;
  }
  const files = readdirSync(directory);
  const pickle = files.find((file) => /\.(bin|pt|pth)$/.test(file) && !/training_args|optimizer|scheduler/.test(file));
  if (pickle !== undefined) {
    return (
      `${directory}: holds ${pickle}, a pickle file: it can run any code when it is read, so it is not read here. Convert it where ` +
      `you trust it: python -c "from transformers import AutoModelForCausalLM as M; M.from_pretrained('${directory}', dtype='auto').save_pretrained('OUT')"`
    );
  }
  if (files.includes("adapter_config.json")) {
    return `${directory}: holds an adapter, not a model. Open its base model and add the adapter with PeftModel.fromPretrained.`;
  }
  const other = files.find((file) => file.endsWith(".gguf"));
  if (other !== undefined) {
    return `${directory}: holds ${other}, a GGUF file. Expected ${SINGLE_FILE} or ${INDEX_FILE}.`;
  }
  return `${directory}: expected ${SINGLE_FILE} or ${INDEX_FILE}, found ${files.length === 0 ? "nothing" : listNames(files)}.`;
}
