import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fixturePath, temporaryDirectory } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import { buildTokenizer } from "../../src/tokenizer/auto-tokenizer.ts";
import {
  AutoTokenizer,
  ChatTemplateError,
  TextStreamer,
  TokenizerError,
  type PreTrainedTokenizer,
} from "../../src/tokenizer/index.ts";
import { SUBWORD_BPE, WORD_LEVEL, WORD_PIECE } from "./small-tokenizers.ts";

const root = temporaryDirectory();
let folders = 0;

function newFolder(): string {
  const directory = join(root, String(folders++));
  mkdirSync(directory);
  return directory;
}

function load(name: string): Promise<PreTrainedTokenizer> {
  return AutoTokenizer.fromPretrained(fixturePath("tokenizers", name));
}

function small(files: ReadonlyMap<string, string>): PreTrainedTokenizer {
  return buildTokenizer({
    directory: "small",
    bytes: new Map([...files].map(([name, text]) => [name, new TextEncoder().encode(text)])),
  });
}

describe("ids", () => {
  it("that stand for no token are an error, or left out on request", async () => {
    const tokenizer = await load("bytelevel");
    for (const id of [384, 4_000_000_000, -1, 1.5, Number.NaN, "5" as unknown as number]) {
      expect(() => tokenizer.decode([64, id])).toThrow(TokenizerError);
      expect(() => tokenizer.convertIdsToTokens(id)).toThrow(TokenizerError);
      expect(() => tokenizer.decodeStream().push(id)).toThrow(TokenizerError);
    }
    expect(tokenizer.decode([64, 384, 65], { skipUnknownIds: true })).toBe("ab");
    expect(tokenizer.decodeStream({ skipUnknownIds: true }).push([64, 400, 65])).toBe("ab");
    expect(() => tokenizer.decode([-1], { skipUnknownIds: true })).toThrow("-1 is no token id");
  });

  it("come from tokens, unknown ones by the unknown token", async () => {
    const metaspace = await load("metaspace");
    expect(metaspace.convertTokensToIds(["<s>", "zzz", "▁a"])).toEqual([1, 0, 333]);
    expect(metaspace.convertIdsToTokens([1, 333])).toEqual(["<s>", "▁a"]);
    const bytelevel = await load("bytelevel");
    expect(bytelevel.convertTokensToIds("zzz")).toBeUndefined();
  });

  it("decode like the library's own decoder, in batches and for iterables", async () => {
    const tokenizer = await load("metaspace");
    expect(tokenizer.decodeBatch([[333, 346], new Set([333]), Int32Array.of(1, 333)])).toEqual(["a b", "a", "<s> a"]);
    expect(tokenizer.decode([])).toBe("");
  });
});

describe("encode", () => {
  it("refuses what is no text", async () => {
    const tokenizer = await load("metaspace");
    for (const bad of [undefined, null, 5, ["a"], {}]) {
      await expect(tokenizer.encode(bad as string)).rejects.toThrow(TokenizerError);
      await expect(tokenizer.encode("a", { pair: (bad ?? 0) as string })).rejects.toThrow(TokenizerError);
    }
    await expect(tokenizer.encodeBatch(["a", 5 as unknown as string])).rejects.toThrow(
      "encodeBatch, entry 1: expected a string, found number",
    );
    await expect(tokenizer.encodeBatch([["a", null as unknown as string]])).rejects.toThrow("encodeBatch, entry 0");
  });

  it("replaces half surrogate pairs, which are no text", async () => {
    const tokenizer = await load("bytelevel");
    const encoding = await tokenizer.encode("\ud800x", { addSpecialTokens: false });
    expect(tokenizer.decode(encoding.ids)).toBe("\ufffdx");
  });

  it("gives all that a token has", async () => {
    const tokenizer = await load("metaspace");
    const encoding = await tokenizer.encode("a b", { pair: "c" });
    expect(encoding).toHaveLength(encoding.ids.length);
    expect(encoding.tokens).toEqual(["<s>", "▁a", "▁b", "<s>", "▁c"]);
    expect(encoding.specialTokensMask).toEqual([1, 0, 0, 1, 0]);
    expect(encoding.sequenceIds).toEqual([null, 0, 0, null, 1]);
    expect(encoding.typeIds).toEqual([0, 0, 0, 1, 1]);
    expect(encoding.attentionMask).toEqual([1, 1, 1, 1, 1]);
    expect(encoding.charToToken(2)).toBe(2);
    expect(encoding.charToToken(0, 1)).toBe(4);
    expect(encoding.charToToken(99)).toBeUndefined();
  });

  it("cuts only on request, and says where that cannot be", async () => {
    const tokenizer = await load("metaspace");
    tokenizer.modelMaxLength = 3;
    expect((await tokenizer.encode("a b c d")).ids).toHaveLength(5);
    expect((await tokenizer.encode("a b c d", { truncation: true })).ids).toHaveLength(3);
    const [batched] = await tokenizer.encodeBatch(["a b c d"], { truncation: true, maxLength: 2 });
    expect(batched?.tokens).toEqual(["<s>", "▁a"]);
    await expect(tokenizer.encode("a", { truncation: true, maxLength: 0 })).rejects.toThrow(
      "maxLength must be positive",
    );
    tokenizer.addEosToken = true;
    await expect(tokenizer.encode("a", { truncation: true, maxLength: 1 })).rejects.toThrow(
      "leaves no room for the 2 special tokens",
    );
    await expect(tokenizer.encode("a", { pair: "b", truncation: true, maxLength: 2 })).rejects.toThrow(
      "Truncation of pairs",
    );
  });
});

describe("special tokens", () => {
  it("must be in the vocabulary to be named", async () => {
    const tokenizer = await load("metaspace");
    expect(tokenizer.padToken).toBeUndefined();
    expect(tokenizer.padTokenId).toBeUndefined();
    expect(() => (tokenizer.padToken = "<pad>")).toThrow("add it with addSpecialTokens");
    expect(tokenizer.addSpecialTokens({ pad_token: "<pad>" })).toBe(1);
    expect(tokenizer.padTokenId).toBe(416);
    expect(tokenizer.addSpecialTokens({ pad_token: "<pad>" })).toBe(0);
    expect(() => tokenizer.addSpecialTokens({ mistake_token: "x" } as unknown as { pad_token: string })).toThrow(
      "no special token's name",
    );
    expect(() => tokenizer.addSpecialTokens({ pad_token: "" })).toThrow(TokenizerError);
    expect(() => tokenizer.addTokens([""])).toThrow(TokenizerError);
    tokenizer.padToken = undefined;
    expect(tokenizer.specialTokensMap.has("pad_token")).toBe(false);
  });

  it("around sequences need names", async () => {
    const tokenizer = small(WORD_PIECE);
    expect(tokenizer.addBosToken).toBe(false);
    expect(() => (tokenizer.addBosToken = true)).toThrow("This tokenizer has no bos_token");
    expect(tokenizer.addBosToken).toBe(false);
    const bytelevel = await load("bytelevel");
    expect(bytelevel.addBosToken).toBe(true);
    expect(bytelevel.addEosToken).toBe(false);
    bytelevel.addEosToken = true;
    bytelevel.eosToken = "<|eot_id|>";
    expect((await bytelevel.encode("a")).tokens).toEqual(["<|begin_of_text|>", "a", "<|eot_id|>"]);
  });

  it("that the configuration adds, and settings without effect, are told", async () => {
    const directory = newFolder();
    cpSync(fixturePath("tokenizers", "metaspace"), directory, { recursive: true });
    const config = JSON.parse(readFileSync(join(directory, "tokenizer_config.json"), "utf8")) as Record<
      string,
      unknown
    >;
    writeFileSync(
      join(directory, "tokenizer_config.json"),
      JSON.stringify({ ...config, pad_token: "<pad>", add_eos_token: true }),
    );
    const { warnings } = await AutoTokenizer.fromPretrained(directory);
    expect(warnings).toHaveLength(2);
    expect(warnings[0]).toContain('has 416 tokens; the configuration adds "<pad>": the embeddings need 417 rows');
    expect(warnings[1]).toContain("add_eos_token: true has no effect");
    const told = await AutoTokenizer.fromPretrained(directory, { addEosToken: true });
    expect(told.warnings).toHaveLength(1);
    expect((await told.encode("a")).tokens).toEqual(["<s>", "▁a", "</s>"]);
  });
});

describe("savePretrained", () => {
  it.each(["bytelevel", "metaspace", "metaspace-legacy"])(
    "keeps every byte of %s where nothing changed",
    async (name) => {
      const directory = newFolder();
      const paths = await (await load(name)).savePretrained(directory);
      const names = readdirSync(directory).sort();
      expect(paths).toHaveLength(names.length);
      expect(names).toContain("tokenizer.json");
      for (const each of names) {
        expect(readFileSync(join(directory, each)).equals(readFileSync(fixturePath("tokenizers", name, each)))).toBe(
          true,
        );
      }
    },
  );

  it("changes only what changed", async () => {
    const tokenizer = await load("bytelevel");
    tokenizer.paddingSide = "left";
    tokenizer.truncationSide = "left";
    tokenizer.modelMaxLength = 77;
    const directory = newFolder();
    await tokenizer.savePretrained(directory);
    for (const each of ["tokenizer.json", "chat_template.jinja"]) {
      expect(
        readFileSync(join(directory, each)).equals(readFileSync(fixturePath("tokenizers", "bytelevel", each))),
      ).toBe(true);
    }
    const again = await AutoTokenizer.fromPretrained(directory);
    expect([again.paddingSide, again.truncationSide, again.modelMaxLength]).toEqual(["left", "left", 77]);
  });

  it("over its own directory leaves no stale template", async () => {
    const directory = newFolder();
    await (await load("bytelevel")).savePretrained(directory);
    const tokenizer = await AutoTokenizer.fromPretrained(directory);
    tokenizer.chatTemplate = undefined;
    await tokenizer.savePretrained(directory);
    expect(readdirSync(directory).sort()).toEqual(["tokenizer.json", "tokenizer_config.json"]);
    const bare = await AutoTokenizer.fromPretrained(directory);
    expect(bare.chatTemplate).toBeUndefined();
    bare.chatTemplate = "new {{ bos_token }}";
    await bare.savePretrained(directory);
    const renewed = await AutoTokenizer.fromPretrained(directory);
    expect(renewed.renderChatTemplate([{ role: "user", content: "x" }]).text).toBe("new <|begin_of_text|>");
  });

  it("moves a template of the configuration into its file, and named ones into theirs", async () => {
    const directory = newFolder();
    cpSync(fixturePath("tokenizers", "metaspace"), directory, { recursive: true });
    const config = JSON.parse(readFileSync(join(directory, "tokenizer_config.json"), "utf8")) as Record<
      string,
      unknown
    >;
    const templates = [
      { name: "default", template: "D" },
      { name: "rag", template: "R" },
    ];
    writeFileSync(join(directory, "tokenizer_config.json"), JSON.stringify({ ...config, chat_template: templates }));
    const tokenizer = await AutoTokenizer.fromPretrained(directory);
    expect([...tokenizer.chatTemplates]).toEqual([
      ["default", "D"],
      ["rag", "R"],
    ]);
    tokenizer.chatTemplate = "N";
    const target = newFolder();
    await tokenizer.savePretrained(target);
    expect(readFileSync(join(target, "chat_template.jinja"), "utf8")).toBe("N");
    expect(readFileSync(join(target, "additional_chat_templates", "rag.jinja"), "utf8")).toBe("R");
    expect(readFileSync(join(target, "tokenizer_config.json"), "utf8")).not.toContain("chat_template");
    expect([...(await AutoTokenizer.fromPretrained(target)).chatTemplates.keys()]).toEqual(["default", "rag"]);
  });

  it("refuses template names that lead elsewhere", async () => {
    const directory = newFolder();
    cpSync(fixturePath("tokenizers", "metaspace"), directory, { recursive: true });
    const config = JSON.parse(readFileSync(join(directory, "tokenizer_config.json"), "utf8")) as Record<
      string,
      unknown
    >;
    writeFileSync(
      join(directory, "tokenizer_config.json"),
      JSON.stringify({ ...config, chat_template: { "../../evil": "x" } }),
    );
    const tokenizer = await AutoTokenizer.fromPretrained(directory);
    tokenizer.chatTemplate = "N";
    await expect(tokenizer.savePretrained(newFolder())).rejects.toThrow("cannot be saved under that name");
  });
});

/** Ids of byte tokens in the metaspace tokenizers. */
function bytes(...values: number[]): number[] {
  return values.map((value) => 3 + value);
}

describe("streaming", () => {
  it("holds a character back until it is complete", async () => {
    const tokenizer = await load("bytelevel");
    const { ids } = await tokenizer.encode("a🙂é!", { addSpecialTokens: false });
    const stream = tokenizer.decodeStream();
    const pieces = ids.map((id) => stream.push(id));
    expect(pieces.filter((piece) => piece !== "")).toEqual(["a", "🙂", "é", "!"]);
    expect(stream.finish()).toBe("");
  });

  it("gives what is incomplete at the end, as decode does", async () => {
    const tokenizer = await load("bytelevel");
    const { ids } = await tokenizer.encode("a🙂", { addSpecialTokens: false });
    const cut = ids.slice(0, -1);
    const stream = tokenizer.decodeStream();
    expect(stream.push(cut)).toBe("a");
    expect("a" + stream.finish()).toBe(tokenizer.decode(cut));
    expect(stream.push(ids)).toBe("a🙂");
  });

  it("holds a run of byte tokens back until it is certain", async () => {
    const tokenizer = await load("metaspace");
    const good = [333, ...bytes(0xe4, 0xbd, 0xa0), 333];
    const stream = tokenizer.decodeStream();
    expect(good.map((id) => stream.push(id))).toEqual(["a", "", "", "", "你 a"]);
    const bad = [333, ...bytes(0xe4, 0xbd, 0xa0, 0xe4), 333];
    const other = tokenizer.decodeStream();
    expect(bad.map((id) => other.push(id)).join("") + other.finish()).toBe(tokenizer.decode(bad));
    expect(tokenizer.decode(bad)).toBe("a\ufffd\ufffd\ufffd\ufffd a");
  });

  it("keeps the first space rules of the whole text", async () => {
    for (const name of ["metaspace", "metaspace-legacy"]) {
      const tokenizer = await load(name);
      for (const ids of [[328, 328, 333], [1, 328, 333], [333, 1, 333, 328], [328], [1, 2, 328, 328]]) {
        for (const skipSpecialTokens of [true, false]) {
          const stream = tokenizer.decodeStream({ skipSpecialTokens });
          const text = ids.map((id) => stream.push(id)).join("") + stream.finish();
          expect(text).toBe(tokenizer.decode(ids, { skipSpecialTokens }));
        }
      }
    }
  });

  it("is refused where later tokens change earlier text", () => {
    expect(() => small(SUBWORD_BPE).decodeStream()).toThrow("cannot be streamed with the decoder BPEDecoder");
  });

  it("hands text to a function, without the prompt on request", async () => {
    const tokenizer = await load("bytelevel");
    const { ids } = await tokenizer.encode("ab c");
    let text = "";
    const streamer = new TextStreamer(tokenizer, (piece) => (text += piece), {
      skipPrompt: true,
      skipSpecialTokens: true,
    });
    streamer.put(ids);
    ids.forEach((id) => streamer.put(id));
    streamer.end();
    expect(text).toBe("ab c");
  });
});

describe("chat", () => {
  const messages = [
    { role: "user", content: "Hi" },
    { role: "assistant", content: " Yo" },
  ];

  it("refuses what is no conversation", async () => {
    const tokenizer = await load("metaspace");
    await expect(tokenizer.applyChatTemplate(["x"] as unknown as typeof messages)).rejects.toThrow(
      "a message is an object with role and content",
    );
    await expect(tokenizer.applyChatTemplate([])).rejects.toThrow(ChatTemplateError);
    await expect(
      tokenizer.applyChatTemplate(messages, { tokenize: false, returnAssistantTokensMask: true } as {
        tokenize: false;
      }),
    ).rejects.toThrow("requires");
  });

  it("refuses options that would be lost or mean nothing", async () => {
    const tokenizer = await load("metaspace");
    expect(() => tokenizer.renderChatTemplate(messages, { templateKwargs: { messages: [] } })).toThrow(
      'templateKwargs cannot hold "messages"',
    );
    expect(() =>
      tokenizer.renderChatTemplate(messages, { tools: ["f"] as unknown as Record<string, unknown>[] }),
    ).toThrow("tools must be a list");
    expect(() =>
      tokenizer.renderChatTemplate(messages, { documents: {} as unknown as Record<string, unknown>[] }),
    ).toThrow("Documents should be");
    expect(() => tokenizer.renderChatTemplate(messages, { templateKwargs: { f: () => 1 } })).toThrow(ChatTemplateError);
  });

  it("does not change the messages", async () => {
    const tokenizer = await load("metaspace");
    const frozen = messages.map((message) => Object.freeze({ ...message, reasoning: "r" }));
    const { text } = tokenizer.renderChatTemplate(frozen, {
      chatTemplate: "{{ messages[1].content }}",
      continueFinalMessage: true,
    });
    expect(text).toBe(" Yo");
    expect(frozen[1]).toEqual({ role: "assistant", content: " Yo", reasoning: "r" });
  });

  it("can be cut, and the mask is cut with it", async () => {
    const tokenizer = await load("bytelevel");
    const whole = await tokenizer.applyChatTemplate(messages, { returnAssistantTokensMask: true });
    const cut = await tokenizer.applyChatTemplate(messages, {
      returnAssistantTokensMask: true,
      truncation: true,
      maxLength: whole.ids.length - 2,
    });
    expect(cut.ids).toEqual(whole.ids.slice(0, -2));
    expect(cut.assistantMask).toEqual(whole.assistantMask?.slice(0, -2));
    expect(cut.assistantMask).toContain(1);
  });

  it("marks generated text at its borders where spaces are in no token, and nothing for empty spans", async () => {
    const tokenizer = await load("bytelevel");
    const mask = async (template: string): Promise<string[]> => {
      const { encoding, assistantMask } = await tokenizer.applyChatTemplate(messages, {
        chatTemplate: template,
        returnAssistantTokensMask: true,
      });
      return encoding.tokens.filter((_, index) => assistantMask?.[index] === 1);
    };
    // The offsets of a lone space are empty in this tokenizer, so no token holds the characters at the span's ends.
    await expect(
      mask("x{% generation %} a {% endgeneration %}{{ '\n' }}b{% generation %}c{% endgeneration %}"),
    ).resolves.toEqual(["Ġa", "Ġ", "c"]);
    await expect(mask("ab{% generation %}{% endgeneration %}c")).resolves.toEqual([]);
  });
});

describe("decode", () => {
  it("cleans up spaces for word tokens, not for BPE", async () => {
    const words = small(WORD_LEVEL);
    const { ids } = await words.encode("Hello world.");
    expect(words.decode(ids)).toBe("hello world .");
    expect(words.decode(ids, { cleanUpTokenizationSpaces: true })).toBe("hello world.");
    const configured = new Map([...WORD_LEVEL, ["tokenizer_config.json", '{"clean_up_tokenization_spaces": true}']]);
    expect(small(configured).decode(ids)).toBe("hello world.");
    expect(small(configured).decode(ids, { cleanUpTokenizationSpaces: false })).toBe("hello world .");
    const bytelevel = await load("bytelevel");
    const { ids: spaced } = await bytelevel.encode("a , b .", { addSpecialTokens: false });
    expect(bytelevel.decode(spaced, { cleanUpTokenizationSpaces: true })).toBe("a , b .");
  });
});
