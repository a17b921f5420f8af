import { readJsonFixture, fixturePath } from "@fms-accel/test-utilities";
import { Tokenizer } from "@huggingface/tokenizers";
import { describe, expect, it } from "vitest";
import { AutoTokenizer } from "../../src/tokenizer/index.ts";
import { numbers, pick } from "./mutations.ts";

/** Another implementation, in JavaScript, of the same file format. */
const FOLDERS = [
  ["tokenizers", "bytelevel"],
  ["tokenizers", "metaspace"],
  ["tokenizers", "metaspace-legacy"],
  ["data", "tokenizer", "byte-level"],
  ["data", "tokenizer", "sentencepiece-like"],
];

const PIECES = [
  "Hello",
  "the ",
  " capital",
  " of",
  "France",
  " 12345",
  "\n",
  "\n\n",
  "  ",
  "   ",
  "\t",
  "naïve",
  " é",
  "数学",
  "🙂",
  "👩‍🚀",
  "Привет",
  ".",
  ", ",
  "!?",
  "'s",
  "don't",
  "<s>",
  "</s>",
  "<unk>",
  "<|begin_of_text|>",
  "<|eot_id|>",
  "<|im_start|>",
  "[INST]",
  "def f(x):",
  "▁",
  "<0x41>",
  "\u00a0",
  "e\u0301",
  "ǅ",
  "a",
  "Z",
  "_",
  "--",
  "\r\n",
];

function randomText(random: () => number): string {
  return Array.from({ length: Math.floor(random() * 12) }, () => pick(random, PIECES)).join("");
}

describe.each(FOLDERS.map((folder): [string, string[]] => [folder.join("/"), folder]))("%s", (_, folder) => {
  it("gives the ids and texts of @huggingface/tokenizers for 300 texts", async () => {
    const tokenizer = await AutoTokenizer.fromPretrained(fixturePath(...folder));
    const other = new Tokenizer(
      readJsonFixture<object>(...folder, "tokenizer.json"),
      readJsonFixture<object>(...folder, "tokenizer_config.json"),
    );
    const random = numbers(folder.join().length);
    for (let count = 0; count < 300; count++) {
      const text = randomText(random);
      for (const addSpecialTokens of [true, false]) {
        const { ids } = await tokenizer.encode(text, { addSpecialTokens });
        expect({ text, ids }).toEqual({ text, ids: other.encode(text, { add_special_tokens: addSpecialTokens }).ids });
        if (ids.length > 0) {
          expect(tokenizer.decode(ids)).toBe(other.decode([...ids], { clean_up_tokenization_spaces: false }));
        }
      }
    }
  });
});
