import { fixturePath, readJsonFixture } from "@fms-accel/test-utilities";
import { beforeAll, describe, expect, it } from "vitest";
import { AutoTokenizer, type PreTrainedTokenizer } from "../../src/tokenizer/index.ts";

interface Case {
  readonly text: string;
  readonly ids: number[];
  readonly offsets: [number, number][];
  readonly tokens: string[];
  readonly ids_with_special: number[];
  readonly offsets_with_special: [number, number][];
  readonly decoded: string;
  readonly decoded_skip_special: string;
  readonly decoded_plain: string;
}

interface Chat {
  readonly messages: Record<string, unknown>[];
  readonly add_generation_prompt: boolean;
  readonly text: string;
  readonly ids: number[];
  readonly assistant_mask: number[];
}

describe.each(["bytelevel", "metaspace", "metaspace-legacy"])("%s", (name) => {
  const { cases, vocab_size } = readJsonFixture<{ cases: Case[]; vocab_size: number }>(
    "tokenizers",
    name,
    "cases.json",
  );
  const { chats } = readJsonFixture<{ chats: Chat[] }>("tokenizers", name, "chat.json");
  let tokenizer: PreTrainedTokenizer;

  beforeAll(async () => {
    tokenizer = await AutoTokenizer.fromPretrained(fixturePath("tokenizers", name));
  });

  it("has the reference's tokens and no warnings", () => {
    expect(tokenizer.length).toBe(vocab_size);
    expect(Object.keys(tokenizer.getVocab())).toHaveLength(vocab_size);
    expect(tokenizer.warnings).toEqual([]);
    expect(tokenizer.modelMaxLength).toBe(4096);
  });

  it(`encodes ${cases.length} texts`, async () => {
    expect(cases).toHaveLength(117);
    for (const expected of cases) {
      const plain = await tokenizer.encode(expected.text, { addSpecialTokens: false });
      expect({ text: expected.text, ids: plain.ids, offsets: plain.offsets, tokens: plain.tokens }).toEqual({
        text: expected.text,
        ids: expected.ids,
        offsets: expected.offsets,
        tokens: expected.tokens,
      });
      const full = await tokenizer.encode(expected.text);
      expect({ text: expected.text, ids: full.ids, offsets: full.offsets }).toEqual({
        text: expected.text,
        ids: expected.ids_with_special,
        offsets: expected.offsets_with_special,
      });
    }
  });

  it("encodes all texts as one batch, with the same result", async () => {
    const batch = await tokenizer.encodeBatch(cases.map((each) => each.text));
    expect(batch.map((encoding) => encoding.ids)).toEqual(cases.map((each) => each.ids_with_special));
    expect(batch.map((encoding) => encoding.offsets)).toEqual(cases.map((each) => each.offsets_with_special));
  });

  it("decodes them", () => {
    for (const expected of cases) {
      expect(tokenizer.decode(expected.ids_with_special)).toBe(expected.decoded);
      expect(tokenizer.decode(expected.ids_with_special, { skipSpecialTokens: true })).toBe(
        expected.decoded_skip_special,
      );
      expect(tokenizer.decode(expected.ids)).toBe(expected.decoded_plain);
    }
  });

  it("streams them, id by id and in pieces, to the same text", () => {
    for (const expected of cases) {
      for (const size of [1, 2, 3, 7]) {
        const stream = tokenizer.decodeStream();
        let text = "";
        for (let at = 0; at < expected.ids_with_special.length; at += size) {
          text += stream.push(expected.ids_with_special.slice(at, at + size));
        }
        expect(text + stream.finish()).toBe(expected.decoded);
        const skipping = tokenizer.decodeStream({ skipSpecialTokens: true });
        const pieces = expected.ids_with_special.map((id) => skipping.push(id));
        expect(pieces.join("") + skipping.finish()).toBe(expected.decoded_skip_special);
        expect(pieces.every((piece) => expected.text.includes("\ufffd") || !piece.includes("\ufffd"))).toBe(true);
      }
    }
  });

  it("renders, encodes and masks chats", async () => {
    for (const chat of chats) {
      const options = { addGenerationPrompt: chat.add_generation_prompt };
      await expect(tokenizer.applyChatTemplate(chat.messages, { ...options, tokenize: false })).resolves.toBe(
        chat.text,
      );
      const encoded = await tokenizer.applyChatTemplate(chat.messages, { ...options, returnAssistantTokensMask: true });
      expect(encoded.ids).toEqual(chat.ids);
      expect(encoded.assistantMask).toEqual(chat.assistant_mask);
    }
  });
});
