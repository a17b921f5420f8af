import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { scope } from "@fms-accel/tensor";
import { fixturePath, temporaryDirectory } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { AutoModelForCausalLM } from "../../src/auto/auto-model.ts";
import { ModelsError } from "../../src/errors.ts";
import { SafetensorsFile } from "../../src/safetensors/safetensors-file.ts";
import { Chance, fuzzCount, mutateBytes, mutateJson } from "../fuzz.ts";

const source = fixturePath("models", "llama-rope-linear");
const sharded = fixturePath("models", "llama-sharded");
const SHARDED_FILES = [
  "config.json",
  "model.safetensors.index.json",
  "model-00001-of-00003.safetensors",
  "model-00002-of-00003.safetensors",
  "model-00003-of-00003.safetensors",
];

/** Runs a body that may refuse its input with an error of this package, and with no other. */
async function acceptsOrRefuses(body: () => unknown, label: string): Promise<boolean> {
  try {
    await body();
    return true;
  } catch (error) {
    expect(error, `${label}: ${String((error as Error).stack)}`).toBeInstanceOf(ModelsError);
    expect((error as Error).message.length, label).toBeGreaterThan(20);
    return false;
  }
}

/** Header JSON and data of a safetensors file. */
function split(file: Uint8Array): { header: Record<string, unknown>; data: Uint8Array } {
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length))) as Record<string, unknown>;
  return { header, data: file.subarray(8 + length) };
}

function join3(header: Uint8Array, data: Uint8Array): Uint8Array {
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(header.byteLength), true);
  return Buffer.concat([length, header, data]);
}

function readAll(file: string): void {
  scope(() => {
    using opened = SafetensorsFile.open(file);
    for (const entry of opened.entries.values()) {
      const read = opened.tensor(entry.name);
      expect(read.shape).toEqual(entry.shape);
      expect(read.toBytes().byteLength).toBe(entry.end - entry.begin);
    }
  });
}

describe("mutated safetensors files", () => {
  const original = new Uint8Array(readFileSync(join(source, "model.safetensors")));
  const { header, data } = split(original);
  const directory = temporaryDirectory();
  const path = join(directory, "model.safetensors");

  it("with changed header entries are refused, or read as they say", { timeout: 600_000 }, async () => {
    const chance = new Chance(1);
    let refused = 0;
    for (let round = fuzzCount(300); round > 0; round--) {
      const { value, touched } = mutateJson(header, chance);
      writeFileSync(path, join3(Buffer.from(JSON.stringify(value)), data));
      const accepted = await acceptsOrRefuses(() => readAll(path), touched.join());
      refused += accepted ? 0 : 1;
    }
    expect(refused).toBeGreaterThan(100);
  });

  it("with changed bytes are refused, or read as they say", { timeout: 600_000 }, async () => {
    const chance = new Chance(2);
    const text = original.subarray(0, original.byteLength - data.byteLength);
    let refused = 0;
    for (let round = fuzzCount(300); round > 0; round--) {
      const bytes =
        chance.below(4) === 0 ? mutateBytes(original, chance) : Buffer.concat([mutateBytes(text, chance), data]);
      writeFileSync(path, bytes);
      const accepted = await acceptsOrRefuses(() => readAll(path), `round ${round}`);
      refused += accepted ? 0 : 1;
    }
    expect(refused).toBeGreaterThan(100);
  });
});

describe("mutated sharded checkpoints", () => {
  it("are refused, or opened", { timeout: 600_000 }, async () => {
    const chance = new Chance(3);
    const root = temporaryDirectory();
    let opened = 0;
    for (let round = fuzzCount(120); round > 0; round--) {
      const directory = join(root, String(round % 4));
      mkdirSync(directory, { recursive: true });
      for (const file of SHARDED_FILES) {
        copyFileSync(join(sharded, file), join(directory, file));
      }
      const file = chance.of(SHARDED_FILES);
      const original = readFileSync(join(sharded, file));
      const isJson = file.endsWith(".json");
      const { value, touched } = isJson
        ? mutateJson(JSON.parse(original.toString("utf8")), chance)
        : { value: 0, touched: [file] };
      const text = isJson ? Buffer.from(JSON.stringify(value)) : original;
      writeFileSync(join(directory, file), !isJson || chance.below(3) === 0 ? mutateBytes(text, chance) : text);
      const accepted = await acceptsOrRefuses(async () => {
        const model = await AutoModelForCausalLM.fromPretrained(directory, { onWarning: () => {} });
        model.dispose();
      }, touched.join());
      opened += accepted ? 1 : 0;
    }
    expect(opened).toBeGreaterThan(0);
  });
});
