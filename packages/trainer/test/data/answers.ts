import { IGNORE_INDEX } from "../../src/data/index.ts";
import { goldenTokenizer } from "./tokenizers.ts";

/** Decoding adds spaces behind special tokens. */
const withoutSpace = (text: string): string => text.replaceAll(/\s+/g, "");

/** What is trained, as text without spaces. */
export function trainedText(tokenizer: string, labels: ArrayLike<number>): string {
  const kept = Array.from(labels).filter((label) => label !== IGNORE_INDEX);
  return withoutSpace(goldenTokenizer(tokenizer).decode(kept));
}

/** What should be trained, found in the text alone and without spaces. */
export function expectedText(text: string, response: string, instruction: string | null): string {
  const parts = text.split(response);
  if (parts.length === 1) return "";
  if (instruction === null) return withoutSpace(parts.at(-1) ?? "");
  if (!text.includes(instruction)) return "";
  return withoutSpace(
    parts
      .slice(1)
      .map((part) => part.split(instruction)[0])
      .join(""),
  );
}
