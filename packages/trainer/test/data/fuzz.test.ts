import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { DatasetError, loadDataset, preprocessDataset } from "../../src/data/index.ts";
import { permutation } from "../../src/data/permutation.ts";
import { fixture, TemporaryFolder } from "./fixtures.ts";
import { load } from "./tokenizers.ts";

/** Mutated data sets: FMS_ACCEL_FUZZ=10000 for more. */
const COUNT = Number(process.env["FMS_ACCEL_FUZZ"] ?? 300);
/** A file of some kilobytes that takes longer hangs. */
const LONGEST_MS = 10_000;

/** Random numbers of one case, from its seed alone. */
class Dice {
  readonly #values: Int32Array;
  #next = 0;

  constructor(seed: number) {
    this.#values = permutation(1 << 12, seed, 0);
  }

  below(limit: number): number {
    const high = this.#values[this.#next++ & 4095]!;
    const low = this.#values[this.#next++ & 4095]!;
    return (high * 4096 + low) % limit;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

type Mutation = (bytes: Buffer, dice: Dice) => Buffer;

const TOKENS = [
  '"',
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  "\\",
  "\n",
  "\r\n",
  "null",
  "1e999",
  "-1",
  "\u0000",
  '"a":',
  "//",
  "NaN",
  "\uD800",
  "\uFEFF",
  "18446744073709551616",
];
const EXTREMES = [0, -1, 1, 127, 255, 65_535, 0x7fffffff, -0x80000000];

function splice(bytes: Buffer, start: number, end: number, insert: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, start), insert, bytes.subarray(end)]);
}

const MUTATIONS: Readonly<Record<string, Mutation>> = {
  flip: (bytes, dice) => {
    const copy = Buffer.from(bytes);
    for (let i = 0; i <= dice.below(4); i++) copy[dice.below(copy.length)]! ^= 1 << dice.below(8);
    return copy;
  },
  overwrite: (bytes, dice) => {
    const copy = Buffer.from(bytes);
    const start = dice.below(copy.length);
    for (let i = start; i < Math.min(copy.length, start + 1 + dice.below(16)); i++) copy[i] = dice.below(256);
    return copy;
  },
  integer: (bytes, dice) => {
    const copy = Buffer.from(bytes);
    if (copy.length >= 4) copy.writeInt32LE(dice.pick(EXTREMES), dice.below(copy.length - 3));
    return copy;
  },
  footer: (bytes, dice) => {
    const copy = Buffer.from(bytes);
    const last = Math.min(copy.length, 2000);
    for (let i = 0; i <= dice.below(3); i++) copy[copy.length - 1 - dice.below(last)] = dice.below(256);
    return copy;
  },
  cut: (bytes, dice) => bytes.subarray(0, dice.below(bytes.length)),
  behead: (bytes, dice) => bytes.subarray(dice.below(Math.min(bytes.length, 64))),
  remove: (bytes, dice) => {
    const start = dice.below(bytes.length);
    return splice(bytes, start, start + 1 + dice.below(32), new Uint8Array(0));
  },
  insert: (bytes, dice) => {
    const start = dice.below(bytes.length);
    return splice(bytes, start, start, Buffer.from(dice.pick(TOKENS)));
  },
  replace: (bytes, dice) => {
    const start = dice.below(bytes.length);
    return splice(bytes, start, start + 1, Buffer.from(dice.pick(TOKENS)));
  },
  repeat: (bytes, dice) => {
    const start = dice.below(bytes.length);
    const end = Math.min(bytes.length, start + dice.below(500));
    return splice(bytes, end, end, bytes.subarray(start, end));
  },
  nest: (bytes, dice) => {
    const start = dice.below(bytes.length);
    return splice(bytes, start, start, Buffer.from("[".repeat(1 + dice.below(50_000))));
  },
  zeros: (bytes, dice) => splice(bytes, dice.below(bytes.length), bytes.length, new Uint8Array(dice.below(300))),
};

const texts = Array.from({ length: 30 }, (_, i) => ({
  messages: [
    { role: "user", content: `Frage ${i} 🙂 \\ "x"` },
    { role: "assistant", content: `Antwort ${i}` },
  ],
}));
const tokens = Array.from({ length: 30 }, (_, i) => ({
  input_ids: Array.from({ length: 1 + (i % 7) }, (_, j) => i + j),
  labels: Array.from({ length: 1 + (i % 7) }, (_, j) => (j === 0 ? -100 : i + j)),
}));
const pairs = Array.from({ length: 30 }, (_, i) => ({
  instruction: `Do ${i}`,
  input: i % 2 === 0 ? "" : "x",
  output: `Done ${i}`,
}));
const lines = (rows: object[]): Buffer => Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
const SOURCES: Readonly<Record<string, Buffer>> = {
  "chat.jsonl": lines(texts),
  "tokens.jsonl": lines(tokens),
  "pairs.json": Buffer.from(JSON.stringify(pairs, null, 1)),
  "data.json": Buffer.from(JSON.stringify({ version: 1, data: tokens })),
  ...Object.fromEntries(
    ["none", "snappy", "gzip", "zstd", "lz4", "v2-pages"].map((name) => [
      `${name}.parquet`,
      readFileSync(fixture(`data/files/${name}.parquet`)),
    ]),
  ),
  ...Object.fromEntries(
    ["stream", "file", "dictionary"].map((name) => [
      `${name}.arrow`,
      readFileSync(fixture(`data/files/${name}.arrow`)),
    ]),
  ),
};

const CHAT =
  "{% for m in messages %}<{{ m.role }}>{{ m.content }};{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

const tokenizer = await load("byte-level", CHAT);

/** Reads everything and makes samples; gives the error, if there is one. */
async function readAll(path: string): Promise<unknown> {
  try {
    const dataset = await loadDataset(path);
    using samples = await preprocessDataset(dataset, tokenizer, {
      vocabSize: 4096,
      ...(path.endsWith("dictionary.arrow") ? { datasetTextField: "large", responseTemplate: "row" } : {}),
    });
    expect(samples.length).toBeGreaterThan(0);
    for (let i = 0; i < samples.length; i++) expect(samples.sample(i).labels).toHaveLength(samples.lengths[i]!);
    return undefined;
  } catch (error) {
    return error;
  }
}

describe("mutated data sets", () => {
  it("are read, or refused with one clear error", { timeout: 60_000 + COUNT * 200 }, async () => {
    using folder = new TemporaryFolder();
    const names = Object.keys(SOURCES);
    for (const name of names) expect(await readAll(folder.write(name, SOURCES[name]!))).toBeUndefined();
    const outcome = { read: 0, refused: 0 };
    for (let seed = 0; seed < COUNT; seed++) {
      const dice = new Dice(seed);
      const name = names[seed % names.length]!;
      const mutation = dice.pick(Object.keys(MUTATIONS));
      const bytes = MUTATIONS[mutation]!(SOURCES[name]!, dice);
      const start = performance.now();
      const error = await readAll(folder.write(name, bytes));
      const label = `seed ${seed}: ${name}, ${mutation}`;
      expect(performance.now() - start, label).toBeLessThan(LONGEST_MS);
      if (error === undefined) {
        outcome.read += 1;
        continue;
      }
      outcome.refused += 1;
      if (!(error instanceof DatasetError)) throw new Error(label, { cause: error });
      expect(error.message, label).toMatch(/^[^\n]{10,600}$/);
      // Where the file as a whole says nothing of use, the message is about its columns or rows, not about a place in it.
      expect(
        error.file !== undefined || /tell no format|no samples are left|dataset_text_field/.test(error.message),
        `${label}: ${error.message}`,
      ).toBe(true);
    }
    expect(outcome.read + outcome.refused).toBe(COUNT);
    expect(outcome.refused).toBeGreaterThan(COUNT / 4);
  });
});
