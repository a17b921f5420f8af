import { expect, test } from "vitest";
import { stringify } from "yaml";
import { ConfigurationError } from "../../src/index.ts";
import { bodyOfText } from "../../src/configuration/configuration-source.ts";
import { decodeText } from "../../src/configuration/yaml-file.ts";
import { readPlugins } from "../../src/configuration/read-plugins.ts";
import { referenceRegistrations } from "../plugins/reference-plugins.ts";

const rounds = Number(process.env["FMS_ACCEL_FUZZ"] ?? 1500);

/** Numbers in [0, 1), the same in every run. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const random = generator(7);
const below = (limit: number): number => Math.floor(random() * limit);
const draw = <T>(list: readonly T[]): T => list[below(list.length)] as T;

const sections = referenceRegistrations.flatMap(({ plugins }) =>
  plugins.flatMap(({ schemas }) => Object.keys(schemas)),
);
const names = [...new Set(sections.flatMap((path) => path.split(".")))];
const keys = [
  "kernel",
  "from_quantized",
  "quant_type",
  "no_peft_model",
  "fast_loss",
  "fast_rms_layernorm",
  "method",
  "num_processes",
  "ep_degree",
];
const values: readonly unknown[] = [
  true,
  false,
  null,
  0,
  1,
  16,
  -1,
  1e308,
  "nf4",
  "triton_v2",
  "huggingface",
  "yes",
  "",
  "fused_ce_liger",
  "*a",
  "😀",
  [],
  {},
  [1, "x"],
  Number.NaN,
  Infinity,
];
const oddNames = ["__proto__", "constructor", "toString", "", " ", "a.b", "<<", "null", "1", "训练", "-"];

const misspelt = (name: string): string => {
  const at = below(name.length + 1);
  return draw([name.slice(0, at) + name.slice(at + 1), `${name.slice(0, at)}x${name.slice(at)}`, name.toUpperCase()]);
};

/** Sections as they should be. */
const sound: Readonly<Record<string, unknown>> = {
  "peft.quantization.auto_gptq": { kernel: "triton_v2", from_quantized: true },
  "peft.quantization.bitsandbytes": { quant_type: "nf4", no_peft_model: false },
  "training.fused_ops_and_kernels": { fast_loss: "fused_ce_liger", fast_rms_layernorm: true },
  "training.attention.padding_free": { method: "huggingface" },
  "training.moe.scattermoe": { ep_degree: 2 },
};

function randomValue(depth: number): unknown {
  if (depth === 0 || random() < 0.5) return draw(values);
  const entries = Array.from({ length: below(4) }, () => [
    draw([...keys, ...names, ...oddNames]),
    randomValue(depth - 1),
  ]);
  return random() < 0.8 ? Object.fromEntries(entries) : entries.map(([, value]) => value);
}

/** A configuration that is right in parts. */
function randomBody(): unknown {
  const body: Record<string, unknown> = {};
  for (let count = below(4); count > 0; count--) {
    const section = draw(random() < 0.5 ? sections : Object.keys(sound));
    const path = section.split(".").map((name) => (random() < 0.1 ? draw([misspelt(name), draw(oddNames)]) : name));
    const last = path.pop() as string;
    let at = body;
    for (const name of path) {
      const next = Object.hasOwn(at, name) ? at[name] : undefined;
      const mapping = typeof next === "object" && next !== null ? (next as Record<string, unknown>) : {};
      Object.defineProperty(at, name, { value: mapping, enumerable: true, configurable: true, writable: true });
      at = mapping;
    }
    const value = random() < 0.6 ? (sound[section] ?? randomValue(3)) : randomValue(3);
    Object.defineProperty(at, last, { value, enumerable: true, configurable: true, writable: true });
  }
  return random() < 0.9 ? { plugins: body } : randomValue(2);
}

const fragments = [
  "plugins:",
  "\n",
  "\n  ",
  "\n    ",
  "training:",
  "attention:",
  "padding_free:",
  "method:",
  "huggingface",
  "{",
  "}",
  "[",
  "]",
  ",",
  "- ",
  "&a ",
  "*a",
  "!!x ",
  "? ",
  "|",
  ">",
  '"',
  "'",
  "#",
  "%YAML 1.1\n",
  "---\n",
  "...",
  "\t",
  "<<: ",
  "\u0000",
  "\uFEFF",
  "\r\n",
];

/** YAML of a random configuration, sometimes with damage, sometimes not YAML at all. */
function randomText(): string {
  if (random() < 0.2) return Array.from({ length: below(40) }, () => draw(fragments)).join("");
  let text = stringify(randomBody());
  for (let count = random() < 0.5 ? 0 : below(4); count > 0; count--) {
    const at = below(text.length + 1);
    text = text.slice(0, at) + draw([...fragments, "", ""]) + text.slice(at + below(3));
  }
  return text;
}

/** A text as a file may hold it: sometimes a byte of it is another one. */
function randomBytes(text: string): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length > 0 && random() < 0.05) bytes[below(bytes.length)] = below(256);
  return bytes;
}

const name = `${rounds} random configurations give plugins, or errors that all have a line and a column within the file`;
test(name, { timeout: 60_000 + 10 * rounds }, () => {
  const outcomes = { read: 0, empty: 0, refused: 0, lines: 0 };
  for (let round = 0; round < rounds; round++) {
    const bytes = randomBytes(randomText());
    const text = bytes.toString();
    try {
      const body = bodyOfText(decodeText(bytes, "f.yaml"), "f.yaml");
      const configured = readPlugins(body, referenceRegistrations, []);
      if (configured.length > 0) outcomes.read++;
      else outcomes.empty++;
    } catch (error) {
      expect(error, JSON.stringify(text)).toBeInstanceOf(ConfigurationError);
      outcomes.refused++;
      const height = text.split(/\r\n|\r|\n/).length;
      for (const line of (error as Error).message.split("\n")) {
        const place = /^f\.yaml:(\d+):(\d+): \S/.exec(line);
        expect(place, `${JSON.stringify(text)} gave ${line}`).not.toBeNull();
        expect(Number(place?.[1]), JSON.stringify(text)).toBeLessThanOrEqual(height + 1);
        outcomes.lines++;
      }
    }
  }
  expect(outcomes.read).toBeGreaterThan(rounds / 100);
  expect(outcomes.refused).toBeGreaterThan(rounds / 3);
  if (rounds > 10_000) process.stdout.write(`${JSON.stringify(outcomes)}\n`);
});
