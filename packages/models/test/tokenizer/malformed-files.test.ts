import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fixturePath, temporaryDirectory } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import { AutoTokenizer, TokenizerError } from "../../src/tokenizer/index.ts";
import { SUBWORD_BPE, UNIGRAM, WORD_LEVEL, WORD_PIECE } from "./small-tokenizers.ts";

const root = temporaryDirectory();
let folders = 0;

function folderWith(files: Readonly<Record<string, string | Uint8Array>>): string {
  const directory = join(root, String(folders++));
  mkdirSync(directory);
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(directory, name), content);
  }
  return directory;
}

const METASPACE = readFileSync(fixturePath("tokenizers", "metaspace", "tokenizer.json"), "utf8");
const CONFIG = readFileSync(fixturePath("tokenizers", "metaspace", "tokenizer_config.json"), "utf8");

/** A JSON text with the value at a path replaced; undefined removes it. */
function changed(text: string, path: readonly (string | number)[], value: unknown): string {
  const root = JSON.parse(text) as unknown;
  let parent = root as Record<string | number, unknown>;
  for (const key of path.slice(0, -1)) {
    parent = parent[key] as Record<string | number, unknown>;
  }
  parent[path.at(-1) ?? ""] = value;
  return JSON.stringify(root);
}

async function failure(directory: string): Promise<string> {
  try {
    await AutoTokenizer.fromPretrained(directory);
  } catch (error) {
    expect(error).toBeInstanceOf(TokenizerError);
    return (error as Error).message;
  }
  throw new Error("the tokenizer loaded");
}

describe("tokenizer.json", () => {
  it.each<[string, readonly (string | number)[], unknown, string]>([
    ["another version", ["version"], "2.0", 'version: expected "1.0", found "2.0"'],
    ["no model", ["model"], undefined, "model: expected an object, found nothing"],
    ["a model that is a list", ["model"], [], "model: expected an object, found a list []"],
    ["an unknown model", ["model", "type"], "GPT", "model.type: expected one of BPE, Unigram, WordPiece, WordLevel"],
    ["no vocabulary", ["model", "vocab"], undefined, "model.vocab: expected an object, found nothing"],
    ["an empty vocabulary", ["model", "vocab"], {}, "model.vocab: the vocabulary is empty"],
    ["an id below zero", ["model", "vocab", "a"], -1, "model.vocab.a: expected a whole number from 0"],
    ["a fraction as id", ["model", "vocab", "a"], 1.5, "model.vocab.a: expected a whole number"],
    ["an id beyond 32 bits", ["model", "vocab", "a"], 2 ** 40, "model.vocab.a: expected a whole number"],
    [
      "a text as id",
      ["model", "vocab", "a"],
      "1",
      'model.vocab.a: expected a whole number from 0 to 2147483647, found "1"',
    ],
    ["an id twice", ["model", "vocab", "new"], 5, "model.vocab.new: id 5 is also that of"],
    ["half a surrogate pair", ["model", "vocab", "\ud800"], 9999, "half of a surrogate pair"],
    ["no merges", ["model", "merges"], undefined, "model.merges: expected a list, found nothing"],
    ["a merge of three", ["model", "merges", 3], ["a", "b", "c"], "model.merges[3]: expected two tokens"],
    [
      "a merge of unknown tokens",
      ["model", "merges", 3],
      ["qqq", "b"],
      'model.merges[3]: "qqq" is not in the vocabulary',
    ],
    [
      "a merge with an unknown result",
      ["model", "merges", 3],
      ["b", "<unk>"],
      'model.merges[3]: the result "b<unk>" is not in the vocabulary',
    ],
    ["mixed merges", ["model", "merges", 3], "a b", "model.merges[3]: pairs and strings cannot stand in one list"],
    [
      "a prefix that merges do not have",
      ["model", "continuing_subword_prefix"],
      "##",
      "does not start with the continuing_subword_prefix",
    ],
    ["dropout above one", ["model", "dropout"], 1.5, "model.dropout: expected a number from 0 to 1 or null"],
    ["a flag that is none", ["model", "fuse_unk"], "yes", "model.fuse_unk: expected true or false"],
    ["added tokens that are no list", ["added_tokens"], {}, "added_tokens: expected a list, found an object {}"],
    [
      "an added token without a flag",
      ["added_tokens", 1, "special"],
      undefined,
      "added_tokens[1].special: expected true or false, found nothing",
    ],
    ["an added token without content", ["added_tokens", 1, "content"], "", "added_tokens[1].content: expected a token"],
    [
      "an added token twice",
      ["added_tokens", 1, "content"],
      "<unk>",
      'added_tokens[1]: the token "<unk>" is there twice',
    ],
    [
      "an added token with another id",
      ["added_tokens", 2, "id"],
      77,
      'added_tokens[2]: the token "</s>" gets the id 2 from its place in the vocabulary, not 77',
    ],
    [
      "an unknown normalizer",
      ["normalizer"],
      { type: "Magic" },
      "normalizer.type: expected a normalizer (BertNormalizer,",
    ],
    ["a normalizer without type", ["normalizer"], {}, "normalizer.type: expected a normalizer"],
    ["a normalizer that is text", ["normalizer"], "NFC", "normalizer: expected an object"],
    ["an empty Prepend", ["normalizer"], { type: "Prepend", prepend: "" }, "normalizer.prepend: expected some text"],
    [
      "a replacement of nothing",
      ["normalizer"],
      { type: "Replace", pattern: { Regex: "a*|(?=b)" }, content: "x" },
      "normalizer.pattern: expected a pattern that matches at least one character",
    ],
    [
      "a pattern of another kind",
      ["normalizer"],
      { type: "Replace", pattern: { Glob: "*" }, content: "x" },
      "normalizer.pattern: expected",
    ],
    [
      "a pattern that is wrong",
      ["normalizer"],
      { type: "Replace", pattern: { Regex: "(" }, content: "" },
      "the tokenizers library rejects it",
    ],
    [
      "a character map that is none",
      ["normalizer"],
      { type: "Precompiled", precompiled_charsmap: "!!" },
      "normalizer.precompiled_charsmap: the character map is not base64",
    ],
    [
      "a character map that is cut",
      ["normalizer"],
      { type: "Precompiled", precompiled_charsmap: "////fw==" },
      "normalizer.precompiled_charsmap: the character map holds 4 bytes",
    ],
    [
      "a trie that leads outside",
      ["normalizer"],
      { type: "Precompiled", precompiled_charsmap: "BAAAAAD8/38=" },
      "normalizer.precompiled_charsmap: node 0 of the character map's trie points outside",
    ],
    [
      "deep sequences",
      ["normalizer"],
      JSON.parse(`${'{"type":"Sequence","normalizers":['.repeat(50)}{"type":"NFC"}${"]}".repeat(50)}`),
      "sequences nest deeper than",
    ],
    [
      "chunks of no length",
      ["pre_tokenizer"],
      { type: "FixedLength", length: 0 },
      "pre_tokenizer.length: expected a whole number from 1",
    ],
    [
      "a replacement of two characters",
      ["pre_tokenizer"],
      { type: "Metaspace", replacement: "ab" },
      "pre_tokenizer.replacement: expected one character",
    ],
    [
      "an unknown behaviour",
      ["pre_tokenizer"],
      { type: "Split", pattern: { String: " " }, behavior: "Kept", invert: false },
      "pre_tokenizer.behavior: expected one of Removed,",
    ],
    [
      "a decoder that strips the end",
      ["decoder"],
      { type: "Strip", content: " ", start: 0, stop: 1 },
      "decoder.stop: the native library cannot strip",
    ],
    [
      "a decoder list with a hole",
      ["decoder", "decoders", 1],
      null,
      "decoder.decoders[1]: expected an object, found null",
    ],
    [
      "a special token that is not described",
      ["post_processor", "special_tokens"],
      {},
      'post_processor.single[0].SpecialToken.id: the special token "<s>" is not in special_tokens',
    ],
    [
      "ids without tokens",
      ["post_processor", "special_tokens", "<s>", "tokens"],
      [],
      "post_processor.special_tokens.<s>: 1 ids for 0 tokens",
    ],
    [
      "a template without a sequence",
      ["post_processor", "single"],
      [],
      "post_processor.single: sequence A must stand in the template once",
    ],
    [
      "a second sequence where there is one",
      ["post_processor", "single", 1],
      { Sequence: { id: "B", type_id: 0 } },
      "post_processor.single[1].Sequence.id: expected one of A",
    ],
    [
      "two that place special tokens",
      ["post_processor"],
      {
        type: "Sequence",
        processors: [1, 2].map(() => ({ type: "BertProcessing", sep: ["</s>", 2], cls: ["<s>", 1] })),
      },
      "post_processor: 2 parts of the sequence place special tokens",
    ],
  ])("%s", async (_, path, value, message) => {
    const directory = folderWith({ "tokenizer.json": changed(METASPACE, path, value) });
    const found = await failure(directory);
    expect(found).toContain(join(directory, "tokenizer.json"));
    expect(found).toContain(message);
  });

  it.each<[string, ReadonlyMap<string, string>, readonly (string | number)[], unknown, string]>([
    [
      "a score that is none",
      UNIGRAM,
      ["model", "vocab", 4],
      ["x", null],
      "model.vocab[4]: expected a token and its score",
    ],
    [
      "an unknown token out of range",
      UNIGRAM,
      ["model", "unk_id"],
      100,
      "model.unk_id: expected a whole number from 0 to 11",
    ],
    ["an entry twice", UNIGRAM, ["model", "vocab", 4], ["▁", 0], 'model.vocab[4]: the token "▁" is there twice'],
    ["no unknown token", WORD_PIECE, ["model", "unk_token"], null, "model.unk_token: expected a string, found null"],
    [
      "no limit",
      WORD_PIECE,
      ["model", "max_input_chars_per_word"],
      undefined,
      "model.max_input_chars_per_word: expected a whole number",
    ],
    ["a list for a vocabulary", WORD_LEVEL, ["model", "vocab"], ["a"], "model.vocab: expected an object"],
    [
      "sep that is no pair",
      SUBWORD_BPE,
      ["post_processor", "sep"],
      ["</s>", 2, 3],
      "post_processor.sep: expected a token and its id",
    ],
  ])("of another model: %s", async (_, source, path, value, message) => {
    await expect(
      failure(folderWith({ "tokenizer.json": changed(source.get("tokenizer.json") ?? "", path, value) })),
    ).resolves.toContain(message);
  });

  it("cut off anywhere", async () => {
    for (const share of [0, 0.1, 0.5, 0.9, 0.9999]) {
      const directory = folderWith({ "tokenizer.json": METASPACE.slice(0, Math.floor(METASPACE.length * share)) });
      await expect(failure(directory)).resolves.toMatch(/tokenizer\.json is not valid JSON at line \d+, column \d+/);
    }
  });

  it("that is no UTF-8", async () => {
    await expect(failure(folderWith({ "tokenizer.json": Buffer.from([0x7b, 0xff, 0x7d]) }))).resolves.toContain(
      "tokenizer.json is not UTF-8 text",
    );
  });

  it("that is missing, with a way out where a SentencePiece model is there", async () => {
    await expect(failure(folderWith({}))).resolves.toMatch(
      /tokenizer\.json is missing; a tokenizer is loaded from that file\.$/,
    );
    await expect(failure(join(root, "nowhere"))).resolves.toContain("tokenizer.json is missing");
    await expect(failure(folderWith({ "tokenizer.model": "x" }))).resolves.toContain(
      "convert it once with Transformers",
    );
  });
});

describe("tokenizer_config.json and its kin", () => {
  it.each<[string, string, string, string]>([
    [
      "a configuration that is no object",
      "tokenizer_config.json",
      "[]",
      "tokenizer_config.json: expected an object, found a list []",
    ],
    [
      "a configuration that is no JSON",
      "tokenizer_config.json",
      '{"a": }',
      "tokenizer_config.json is not valid JSON: Unexpected token",
    ],
    [
      "a special token of the wrong kind",
      "tokenizer_config.json",
      changed(CONFIG, ["bos_token"], 5),
      "bos_token: expected an object, found 5",
    ],
    [
      "a special token without content",
      "tokenizer_config.json",
      changed(CONFIG, ["eos_token"], { lstrip: true }),
      "eos_token.content: expected a string, found nothing",
    ],
    [
      "a flag that is none",
      "tokenizer_config.json",
      changed(CONFIG, ["added_tokens_decoder", "1", "special"], "no"),
      "added_tokens_decoder.1.special: expected true or false",
    ],
    [
      "an id that is none",
      "tokenizer_config.json",
      changed(CONFIG, ["added_tokens_decoder", "one"], { content: "x" }),
      'added_tokens_decoder.one: expected a whole number from 0 to 2147483647, found "one"',
    ],
    [
      "an added token with another id",
      "tokenizer_config.json",
      changed(CONFIG, ["added_tokens_decoder", "500"], { content: "<new>" }),
      'added_tokens_decoder.500: the token "<new>" gets the id 416 from its place in the vocabulary, not 500',
    ],
    [
      "a limit below zero",
      "tokenizer_config.json",
      changed(CONFIG, ["model_max_length"], -5),
      "model_max_length: expected a positive number, found -5",
    ],
    [
      "a side that is none",
      "tokenizer_config.json",
      changed(CONFIG, ["padding_side"], "top"),
      'padding_side: expected "left" or "right", found "top"',
    ],
    [
      "a template that is a number",
      "tokenizer_config.json",
      changed(CONFIG, ["chat_template"], 7),
      "chat_template: expected a template, or a list",
    ],
    [
      "a template without name",
      "tokenizer_config.json",
      changed(CONFIG, ["chat_template"], [{ template: "x" }]),
      "chat_template[0].name: expected a string, found nothing",
    ],
    [
      "a switch that is text",
      "tokenizer_config.json",
      changed(CONFIG, ["clean_up_tokenization_spaces"], "true"),
      'clean_up_tokenization_spaces: expected true or false, found "true"',
    ],
    ["special tokens that are a list", "special_tokens_map.json", "[1]", "special_tokens_map.json: expected an object"],
    [
      "an added token that is no id",
      "added_tokens.json",
      '{"<x>": "5"}',
      "added_tokens.json, <x>: expected a whole number",
    ],
  ])("%s", async (_, name, content, message) => {
    const directory = folderWith({ "tokenizer.json": METASPACE, [name]: content });
    const found = await failure(directory);
    expect(found).toContain(join(directory, name));
    expect(found).toContain(message);
  });

  it("a chat template that does not parse fails when it is used, with its line", async () => {
    const tokenizer = await AutoTokenizer.fromPretrained(
      folderWith({ "tokenizer.json": METASPACE, "chat_template.jinja": "a\n{% if %}" }),
    );
    await expect(tokenizer.applyChatTemplate([{ role: "user", content: "x" }])).rejects.toMatchObject({
      type: "TemplateSyntaxError",
      line: 2,
      message: "Chat template, line 2: Expected an expression, got 'end of statement block' (TemplateSyntaxError)",
    });
  });
});
