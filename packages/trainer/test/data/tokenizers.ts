import { createRequire } from "node:module";
import { Template } from "@huggingface/jinja";
import type { DataTokenizer } from "../../src/data/index.ts";
import { fixture } from "./fixtures.ts";

interface NativeEncoding {
  getIds(): number[];
  getOffsets(): [number, number][];
  getSpecialTokensMask(): number[];
}
interface NativeTokenizer {
  encode(text: string, pair: null, options: { addSpecialTokens: boolean }): Promise<NativeEncoding>;
  decode(ids: readonly number[], skipSpecialTokens: boolean): Promise<string>;
  tokenToId(token: string): number | null;
}

const require = createRequire(new URL("../../../models/package.json", import.meta.url));
const { Tokenizer } = require("tokenizers") as { Tokenizer: { fromFile(path: string): NativeTokenizer } };

export const TOKENIZER_NAMES = ["byte-level", "sentencepiece-like"] as const;

/** A tokenizer that can also be asked what ids say. */
export interface GoldenTokenizer extends DataTokenizer {
  decode(ids: readonly number[]): Promise<string>;
}

/** One of the two small tokenizers of the goldens. */
export function goldenTokenizer(name: string, chatTemplate?: string): GoldenTokenizer {
  const native = Tokenizer.fromFile(fixture(`data/tokenizer/${name}/tokenizer.json`));
  const template = new Template(chatTemplate ?? "");
  return {
    decode: (ids) => native.decode(ids, false),
    bosToken: "<s>",
    eosToken: "</s>",
    unkToken: "<unk>",
    padToken: "<pad>",
    bosTokenId: native.tokenToId("<s>") ?? undefined,
    modelMaxLength: 4096,
    chatTemplate,
    async encode(text, options) {
      const encoding = await native.encode(text, null, options);
      return {
        ids: encoding.getIds(),
        offsets: encoding.getOffsets(),
        specialTokensMask: encoding.getSpecialTokensMask(),
      };
    },
    renderChat(messages, { addGenerationPrompt = false }) {
      return { text: template.render({ messages, add_generation_prompt: addGenerationPrompt }), generationSpans: [] };
    },
  };
}
