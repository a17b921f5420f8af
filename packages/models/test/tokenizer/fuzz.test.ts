import { readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixturePath } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import { buildTokenizer } from "../../src/tokenizer/auto-tokenizer.ts";
import { TokenizerError } from "../../src/tokenizer/errors.ts";
import type { TokenizerFiles } from "../../src/tokenizer/files.ts";
import type { PreTrainedTokenizer } from "../../src/tokenizer/index.ts";
import { mutateJson, mutateText, numbers, pick } from "./mutations.ts";
import { OTHER_MODELS } from "./small-tokenizers.ts";

/** Set FMS_ACCEL_FUZZ to try that many mutated tokenizers, FMS_ACCEL_FUZZ_SEED to start at another one. */
const COUNT = Number(process.env["FMS_ACCEL_FUZZ"] ?? 300);
const FIRST = Number(process.env["FMS_ACCEL_FUZZ_SEED"] ?? 1);

/** The seed that is being tried: what to look at if the native library stops the process. */
const SEED_FILE = join(tmpdir(), "fms-accel-tokenizer-fuzz-seed");

const TEXTS = ["", "Hello world 🙂 \n a", " <s> x<|begin_of_text|>[INST]", "<0x41> ▁▁ \u0000 é́  ", "##a b\ud800c"];

const MESSAGES = [
  { role: "user", content: "Hi" },
  { role: "assistant", content: "Yo" },
];

function filesOf(name: string, names: readonly string[]): ReadonlyMap<string, string> {
  return new Map(names.map((each) => [each, readFileSync(fixturePath("tokenizers", name, each), "utf8")]));
}

const SOURCES: readonly ReadonlyMap<string, string>[] = [
  filesOf("bytelevel", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]),
  filesOf("metaspace", ["tokenizer.json", "tokenizer_config.json"]),
  filesOf("metaspace-legacy", ["tokenizer.json", "tokenizer_config.json"]),
  ...OTHER_MODELS,
];

function mutated(seed: number): TokenizerFiles {
  const random = numbers(seed);
  const source = pick(random, SOURCES);
  const bytes = new Map([...source].map(([name, text]) => [name, new TextEncoder().encode(text)]));
  const target = random() < 0.75 ? "tokenizer.json" : pick(random, [...source.keys()]);
  const text = source.get(target) ?? "";
  const changed = target.endsWith(".json") ? mutateJson(text, random) : mutateText(text, random);
  bytes.set(target, new TextEncoder().encode(changed));
  return { directory: `mutation-${seed}`, bytes };
}

/** Runs what may fail with the package's own error. */
async function attempt(body: () => unknown): Promise<void> {
  try {
    await body();
  } catch (error) {
    if (!(error instanceof TokenizerError)) {
      throw error;
    }
  }
}

/** Does everything with a tokenizer; only the package's own error may come out. */
async function exercise(tokenizer: PreTrainedTokenizer): Promise<void> {
  for (const text of TEXTS) {
    for (const addSpecialTokens of [true, false]) {
      await attempt(async () => {
        const encoding = await tokenizer.encode(text, { addSpecialTokens });
        expect(encoding.offsets).toHaveLength(encoding.ids.length);
        expect(encoding.tokens).toHaveLength(encoding.ids.length);
        const decoded = tokenizer.decode(encoding.ids, { skipSpecialTokens: addSpecialTokens });
        const stream = tokenizer.decodeStream({ skipSpecialTokens: addSpecialTokens });
        const streamed = encoding.ids.map((id) => stream.push(id)).join("") + stream.finish();
        if (tokenizer.warnings.every((warning) => !warning.includes("clean_up"))) {
          expect(streamed).toBe(decoded);
        }
      });
    }
  }
  await attempt(() => tokenizer.encodeBatch(["a", ["a", "b"]]));
  await attempt(() => tokenizer.encode("a b c", { truncation: true, maxLength: 2 }));
  await attempt(() => tokenizer.applyChatTemplate(MESSAGES, { returnAssistantTokensMask: true }));
  await attempt(() => tokenizer.addSpecialTokens({ pad_token: "<|a pad|>" }));
  await attempt(() => (tokenizer.addEosToken = true));
  await attempt(() => tokenizer.encode("a <|a pad|>"));
}

describe("mutated tokenizer files", () => {
  it(`${COUNT} of them load or fail with an error that names the file`, { timeout: 60_000 + COUNT * 100 }, async () => {
    let loaded = 0;
    for (const source of SOURCES) {
      const bytes = new Map([...source].map(([name, text]) => [name, new TextEncoder().encode(text)]));
      await exercise(buildTokenizer({ directory: "unchanged", bytes }));
    }
    for (let seed = FIRST; seed < FIRST + COUNT; seed++) {
      writeFileSync(SEED_FILE, String(seed));
      const files = mutated(seed);
      let tokenizer: PreTrainedTokenizer | undefined;
      try {
        tokenizer = buildTokenizer(files);
      } catch (error) {
        if (!(error instanceof TokenizerError) || !error.message.includes(files.directory)) {
          throw new Error(`seed ${seed}: ${String(error)}`, { cause: error });
        }
      }
      if (tokenizer !== undefined) {
        loaded++;
        try {
          await exercise(tokenizer);
        } catch (error) {
          throw new Error(`seed ${seed}: ${String(error)}`, { cause: error });
        }
      }
    }
    // Mutations must neither all be harmless nor all be fatal, or the test would not reach what it is for.
    if (COUNT >= 100) {
      expect(loaded).toBeGreaterThan(COUNT / 10);
      expect(loaded).toBeLessThan((COUNT * 9) / 10);
    }
  });
});
