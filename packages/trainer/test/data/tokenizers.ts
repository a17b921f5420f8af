import { AutoTokenizer, type PreTrainedTokenizer } from "@fms-accel/models";
import { fixture } from "./fixtures.ts";

/** The two small tokenizers of the goldens: in the manner of GPT-2 and Llama 3, and of Llama 2. */
export const byteLevel: PreTrainedTokenizer = await load("byte-level");
export const sentencepieceLike: PreTrainedTokenizer = await load("sentencepiece-like");

/** One of them by its name in the goldens. */
export function goldenTokenizer(name: string): PreTrainedTokenizer {
  return name === "byte-level" ? byteLevel : sentencepieceLike;
}

/** A fresh one, to be changed. */
export async function load(name: string, chatTemplate?: string): Promise<PreTrainedTokenizer> {
  const tokenizer = await AutoTokenizer.fromPretrained(fixture(`data/tokenizer/${name}`));
  if (chatTemplate !== undefined) tokenizer.chatTemplate = chatTemplate;
  return tokenizer;
}
