/** Tiny tokenizers of the model types that the reference fixtures do not have. */

function tokenizer(parts: Record<string, unknown>): ReadonlyMap<string, string> {
  return new Map([["tokenizer.json", JSON.stringify({ version: "1.0", truncation: null, padding: null, ...parts })]]);
}

function addedToken(id: number, content: string, special = true): Record<string, unknown> {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special };
}

function ids(tokens: readonly string[]): Record<string, number> {
  return Object.fromEntries(tokens.map((token, id) => [token, id]));
}

export const UNIGRAM: ReadonlyMap<string, string> = tokenizer({
  added_tokens: [addedToken(0, "<unk>"), addedToken(1, "<s>"), addedToken(2, "</s>")],
  normalizer: {
    type: "Sequence",
    normalizers: [{ type: "NFKC" }, { type: "Replace", pattern: { Regex: " {2,}" }, content: " " }],
  },
  pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true },
  post_processor: {
    type: "TemplateProcessing",
    single: [{ Sequence: { id: "A", type_id: 0 } }, { SpecialToken: { id: "</s>", type_id: 0 } }],
    pair: [
      { Sequence: { id: "A", type_id: 0 } },
      { SpecialToken: { id: "</s>", type_id: 0 } },
      { Sequence: { id: "B", type_id: 0 } },
    ],
    special_tokens: { "</s>": { id: "</s>", ids: [2], tokens: ["</s>"] } },
  },
  decoder: { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true },
  model: {
    type: "Unigram",
    unk_id: 0,
    vocab: [
      ["<unk>", 0],
      ["<s>", 0],
      ["</s>", 0],
      ["▁", -2],
      ["▁Hello", -3],
      ["▁world", -3.5],
      ["a", -4],
      ["e", -4],
      ["l", -4.5],
      ["o", -4],
      ["▁a", -3],
      ["H", -6],
    ],
    byte_fallback: false,
  },
});

export const WORD_PIECE: ReadonlyMap<string, string> = tokenizer({
  added_tokens: [
    addedToken(0, "[PAD]"),
    addedToken(1, "[UNK]"),
    addedToken(2, "[CLS]"),
    addedToken(3, "[SEP]"),
    addedToken(9, "new word", false),
  ],
  normalizer: {
    type: "BertNormalizer",
    clean_text: true,
    handle_chinese_chars: true,
    strip_accents: null,
    lowercase: true,
  },
  pre_tokenizer: { type: "BertPreTokenizer" },
  post_processor: { type: "BertProcessing", sep: ["[SEP]", 3], cls: ["[CLS]", 2] },
  decoder: { type: "WordPiece", prefix: "##", cleanup: true },
  model: {
    type: "WordPiece",
    unk_token: "[UNK]",
    continuing_subword_prefix: "##",
    max_input_chars_per_word: 100,
    vocab: ids(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello", "wor", "##ld", "a", "##b"]),
  },
});

export const WORD_LEVEL: ReadonlyMap<string, string> = tokenizer({
  added_tokens: [addedToken(0, "<unk>")],
  normalizer: { type: "Lowercase" },
  pre_tokenizer: {
    type: "Sequence",
    pretokenizers: [{ type: "Whitespace" }, { type: "Digits", individual_digits: true }],
  },
  post_processor: null,
  decoder: null,
  model: { type: "WordLevel", unk_token: "<unk>", vocab: ids(["<unk>", "hello", "world", "a", "."]) },
});

/** BPE with the options that the other fixtures leave out. */
export const SUBWORD_BPE: ReadonlyMap<string, string> = tokenizer({
  added_tokens: [
    addedToken(0, "<unk>"),
    { ...addedToken(9, "a  b", false), normalized: true, lstrip: true, rstrip: true, single_word: true },
  ],
  normalizer: { type: "NFD" },
  pre_tokenizer: { type: "WhitespaceSplit" },
  post_processor: {
    type: "RobertaProcessing",
    sep: ["<unk>", 0],
    cls: ["<unk>", 0],
    trim_offsets: true,
    add_prefix_space: true,
  },
  decoder: { type: "BPEDecoder", suffix: "</w>" },
  model: {
    type: "BPE",
    dropout: null,
    unk_token: "<unk>",
    continuing_subword_prefix: "@",
    end_of_word_suffix: "</w>",
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    vocab: ids(["<unk>", "a", "@b", "@b</w>", "a</w>", "ab</w>", "ab", "b", "b</w>"]),
    merges: ["a @b</w>", "a @b"],
  },
});

export const OTHER_MODELS: readonly ReadonlyMap<string, string>[] = [UNIGRAM, WORD_PIECE, WORD_LEVEL, SUBWORD_BPE];
