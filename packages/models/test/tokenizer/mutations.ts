/** Mutated tokenizer files for fuzzing: the same seed gives the same files. */

/** A generator of numbers in [0, 1), by Tommy Ettinger's mulberry32. */
export function numbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function pick<T>(random: () => number, list: readonly T[]): T {
  const item = list[Math.floor(random() * list.length)];
  if (item === undefined) {
    throw new Error("nothing to pick from");
  }
  return item;
}

const JUNK: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1,
  2,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  1e300,
  0.5,
  "",
  "a",
  " ",
  "▁",
  "Ġ",
  "é",
  "🙂",
  "\ud800",
  "(",
  "[",
  "a|",
  "\\s*",
  "(?=a)",
  "^",
  "\u0000",
  "<unk>",
  "<s>",
  "<0x41>",
  "<|begin_of_text|>",
  "__proto__",
  [],
  {},
  [[]],
  [["a", 1]],
  { a: 1 },
  [null],
  ["a"],
  "a b",
  "x".repeat(300),
];

const METASPACE = { type: "Metaspace", replacement: "▁" };
const BYTE_LEVEL = { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true };
const ROBERTA = { type: "RobertaProcessing", sep: ["</s>", 2], cls: ["<s>", 1] };

/** Components to put in their places, sound ones and unsound ones. */
const COMPONENTS = {
  normalizer: [
    null,
    { type: "NFKC" },
    { type: "NFD" },
    { type: "Lowercase" },
    { type: "Prepend", prepend: "▁" },
    { type: "Prepend", prepend: "" },
    { type: "Replace", pattern: { String: " " }, content: "▁" },
    { type: "Replace", pattern: { String: "" }, content: "x" },
    { type: "Replace", pattern: { Regex: "\\s*" }, content: "" },
    { type: "Replace", pattern: { Regex: "(?=l)" }, content: "xyz" },
    { type: "Replace", pattern: { Regex: "" }, content: "x" },
    { type: "Strip", strip_left: true, strip_right: true },
    { type: "StripAccents" },
    { type: "Nmt" },
    { type: "BertNormalizer", clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true },
    { type: "Precompiled", precompiled_charsmap: "AAAA" },
    { type: "ByteLevel" },
  ],
  pre_tokenizer: [
    null,
    BYTE_LEVEL,
    { ...BYTE_LEVEL, add_prefix_space: false, use_regex: false },
    { type: "BertPreTokenizer" },
    { type: "CharDelimiterSplit", delimiter: " " },
    { ...METASPACE, prepend_scheme: "always", split: true },
    { ...METASPACE, prepend_scheme: "never", split: false },
    { ...METASPACE, replacement: "é", prepend_scheme: "first", split: true },
    { type: "Whitespace" },
    { type: "WhitespaceSplit" },
    { type: "Split", pattern: { Regex: "a*" }, behavior: "MergedWithNext", invert: true },
    { type: "Split", pattern: { String: "" }, behavior: "Isolated", invert: false },
    { type: "Split", pattern: { Regex: "\\b" }, behavior: "Removed", invert: false },
    { type: "Split", pattern: { Regex: "(?=l)|o" }, behavior: "MergedWithPrevious", invert: false },
    { type: "Punctuation", behavior: "Contiguous" },
    { type: "Digits", individual_digits: true },
    { type: "UnicodeScripts" },
    { type: "FixedLength", length: 2 },
    { type: "FixedLength", length: 0 },
  ],
  post_processor: [
    null,
    BYTE_LEVEL,
    { type: "BertProcessing", sep: ["</s>", 2], cls: ["<s>", 1] },
    { ...ROBERTA, trim_offsets: true, add_prefix_space: true },
    { ...ROBERTA, trim_offsets: true, add_prefix_space: false },
    { ...ROBERTA, sep: ["</s>", 4000000000], trim_offsets: false, add_prefix_space: false },
  ],
  decoder: [
    null,
    BYTE_LEVEL,
    { type: "BPEDecoder", suffix: "</w>" },
    { type: "BPEDecoder", suffix: "" },
    { type: "WordPiece", prefix: "##", cleanup: true },
    { type: "WordPiece", prefix: "", cleanup: false },
    { ...METASPACE, prepend_scheme: "always", split: true },
    { ...METASPACE, prepend_scheme: "never", split: true },
    { type: "CTC", pad_token: "<pad>", word_delimiter_token: "|", cleanup: true },
    { type: "Replace", pattern: { String: "▁" }, content: " " },
    { type: "Replace", pattern: { Regex: "l*" }, content: "" },
    { type: "Strip", content: " ", start: 1, stop: 1 },
    { type: "Strip", content: " ", start: 4, stop: 0 },
    { type: "Strip", content: "é", start: 1, stop: 0 },
    { type: "Fuse" },
    { type: "ByteFallback" },
  ],
} as const;

const LIST_KEYS = {
  normalizer: "normalizers",
  pre_tokenizer: "pretokenizers",
  post_processor: "processors",
  decoder: "decoders",
} as const;

/** Puts another component, or a sequence of several, into one of the four places. */
function mutateComponent(root: Record<string, unknown>, random: () => number): void {
  const kind = pick(random, ["normalizer", "pre_tokenizer", "post_processor", "decoder"] as const);
  const another = (): unknown => pick<unknown>(random, COMPONENTS[kind]);
  const before = root[kind];
  const order = random();
  if (order < 0.4) {
    root[kind] = another();
  } else {
    const parts =
      order < 0.6 ? [before, another()] : order < 0.8 ? [another(), before] : [another(), another(), another()];
    root[kind] = { type: "Sequence", [LIST_KEYS[kind]]: parts.filter((part) => part !== null) };
  }
}

type Container = Record<string, unknown> | unknown[];

function isContainer(value: unknown): value is Container {
  return typeof value === "object" && value !== null;
}

/** Paths to every value; of long lists and objects the first and last entries. */
function pathsOf(
  value: unknown,
  path: readonly string[] = [],
  found: (readonly string[])[] = [],
): (readonly string[])[] {
  if (path.length > 0) {
    found.push(path);
  }
  if (isContainer(value)) {
    const keys = Object.keys(value);
    for (const key of keys.length > 40 ? [...keys.slice(0, 8), ...keys.slice(-8)] : keys) {
      pathsOf((value as Record<string, unknown>)[key], [...path, key], found);
    }
  }
  return found;
}

function parentOf(root: unknown, path: readonly string[]): Container | undefined {
  let value: unknown = root;
  for (const key of path.slice(0, -1)) {
    value = isContainer(value) ? (value as Record<string, unknown>)[key] : undefined;
  }
  return isContainer(value) ? value : undefined;
}

/** A JSON text with one to three values replaced, removed, moved or doubled, or with its text cut or changed. */
export function mutateJson(text: string, random: () => number): string {
  if (random() < 0.15) {
    return mutateText(text, random);
  }
  const root = JSON.parse(text) as Record<string, unknown>;
  if ("model" in root && random() < 0.5) {
    mutateComponent(root, random);
    return JSON.stringify(root);
  }
  const paths = pathsOf(root);
  for (let count = random() < 0.7 ? 1 : 3; count > 0; count--) {
    const path = pick(random, paths);
    const parent = parentOf(root, path);
    const key = path.at(-1) ?? "";
    if (parent !== undefined) {
      mutateEntry(parent as Record<string, unknown>, key, random);
    }
  }
  return JSON.stringify(root);
}

function mutateEntry(parent: Record<string, unknown>, key: string, random: () => number): void {
  const kind = random();
  if (kind < 0.2) {
    if (Array.isArray(parent)) {
      parent.splice(Number(key), 1);
    } else {
      delete parent[key];
    }
  } else if (kind < 0.35 && Array.isArray(parent)) {
    parent.splice(Number(key), 0, structuredClone(parent[Number(key)]));
  } else {
    parent[key] = pick(random, JUNK);
  }
}

/** A text that is cut, or in which a stretch is replaced. */
export function mutateText(text: string, random: () => number): string {
  const at = Math.floor(random() * text.length);
  if (random() < 0.5) {
    return text.slice(0, at);
  }
  const length = Math.floor(random() * 12);
  const junk = pick(random, [
    "",
    "{",
    "}",
    "]",
    '"',
    ",",
    "null",
    "\\",
    "\\ud800",
    "1e999",
    "{% if",
    "{{",
    "%}",
    "{#",
    "\u0000",
    "é",
  ]);
  return text.slice(0, at) + junk + text.slice(at + length);
}
