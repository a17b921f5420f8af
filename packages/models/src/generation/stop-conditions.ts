import { GenerationError } from "./errors.ts";
import type { GenerationConfig } from "./generation-config.ts";

/** What turns token ids into text; a tokenizer. */
export interface TokenDecoder {
  decode(tokens: readonly number[]): string;
}

/** Why a row ended: an end-of-sequence token, a stop string, or the limit on new tokens. */
export type FinishReason = "eos" | "stop_string" | "length";

/** A character takes up to four byte tokens. */
const TOKENS_PER_CHARACTER = 4;
/** Tokens before a possible match that are decoded with it: what stands at the very start of a text may be decoded differently. */
const CONTEXT = 8;

/** Tells after each token whether its row has ended. */
export class StopConditions {
  readonly #eos: ReadonlySet<number>;
  readonly #strings: readonly string[];
  readonly #decoder: TokenDecoder | undefined;
  readonly #window: number;

  /** @throws GenerationError for stop strings without a tokenizer, and for empty ones */
  constructor(config: GenerationConfig, decoder: TokenDecoder | undefined) {
    this.#eos = new Set(config.eosTokenIds);
    this.#strings = config.stopStrings;
    this.#decoder = decoder;
    const longest = Math.max(0, ...this.#strings.map((text) => text.length));
    this.#window = longest * TOKENS_PER_CHARACTER + CONTEXT;
    if (this.#strings.length > 0 && decoder === undefined) {
      throw new GenerationError("stopStrings need a tokenizer: pass it to generate.");
    }
    if (this.#strings.includes("")) {
      throw new GenerationError("stopStrings: an empty string would end every text at once.");
    }
  }

  /** @param generated new tokens of one row so far, at least one */
  finished(generated: readonly number[]): FinishReason | undefined {
    const last = generated.at(-1);
    if (last !== undefined && this.#eos.has(last)) {
      return "eos";
    }
    if (this.#decoder === undefined || this.#strings.length === 0) {
      return undefined;
    }
    const text = this.#decoder.decode(generated.slice(-this.#window));
    return this.#strings.some((wanted) => text.includes(wanted)) ? "stop_string" : undefined;
  }
}
