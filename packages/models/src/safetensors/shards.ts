import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

import { CheckpointError } from "../errors.ts";
import { writeTextAtomically } from "../files/atomic-write.ts";
import { INDEX_FILE, SINGLE_FILE } from "./checkpoint.ts";
import { storedBytes, type StorableTensor, writeSafetensors } from "./writer.ts";

/** Decimal units, as in `max_shard_size` of transformers. */
const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/** Bytes of a size such as "5GB", "300MB" or a number. @throws CheckpointError for anything else */
export function parseByteSize(text: string | number): number {
  const [, digits, unit = ""] = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(String(text)) ?? [];
  const factor = UNITS[unit.toUpperCase()];
  const bytes = digits === undefined || factor === undefined ? Number.NaN : Math.floor(Number(digits) * factor);
  if (!(bytes > 0) || !Number.isSafeInteger(bytes)) {
    throw new CheckpointError(
      `max_shard_size: expected a size such as "5GB" or "300MB", found ${JSON.stringify(text)}.`,
    );
  }
  return bytes;
}

/** Fills shards in the order of the tensors; one that is larger than a shard gets its own. */
export function planShards(
  tensors: ReadonlyMap<string, StorableTensor>,
  maxBytes: number,
): Map<string, StorableTensor>[] {
  const shards: Map<string, StorableTensor>[] = [];
  let room = 0;
  for (const [name, tensor] of tensors) {
    const bytes = storedBytes(tensor);
    if (shards.length === 0 || bytes > room) {
      shards.push(new Map());
      room = maxBytes;
    }
    shards.at(-1)!.set(name, tensor);
    room -= bytes;
  }
  return shards;
}

/**
 * Writes the weights of a model into a directory: `model.safetensors`, or shards of at most `maxShardSize` with an index.
 * Weights that a directory held before are replaced: the new files are complete before any old one goes.
 * @returns the names of the files
 */
export function writeShards(
  directory: string,
  tensors: ReadonlyMap<string, StorableTensor>,
  maxShardSize: string | number,
): string[] {
  const shards = planShards(tensors, parseByteSize(maxShardSize));
  const names = shards.map((_, index) => shardName(index, shards.length));
  shards.forEach((shard, index) => writeSafetensors(join(directory, names[index]!), shard));
  if (shards.length > 1) {
    const all = [...tensors.values()];
    const weightMap = shards.flatMap((shard, index) => [...shard.keys()].map((name) => [name, names[index]!] as const));
    const index = {
      metadata: {
        total_parameters: all.reduce((sum, tensor) => sum + tensor.numel, 0),
        total_size: all.reduce((sum, tensor) => sum + storedBytes(tensor), 0),
      },
      weight_map: Object.fromEntries(weightMap.sort(([a], [b]) => (a < b ? -1 : 1))),
    };
    writeTextAtomically(join(directory, INDEX_FILE), `${JSON.stringify(index, undefined, 2)}\n`);
    names.push(INDEX_FILE);
  }
  for (const stale of readdirSync(directory)) {
    if (/^model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?$/.test(stale) && !names.includes(stale)) {
      rmSync(join(directory, stale));
    }
  }
  return names;
}

const digits = (value: number): string => String(value).padStart(5, "0");

function shardName(index: number, count: number): string {
  return count === 1 ? SINGLE_FILE : `model-${digits(index + 1)}-of-${digits(count)}.safetensors`;
}
