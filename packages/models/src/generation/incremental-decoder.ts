/** What turns token ids into text; a tokenizer. */
export interface TokenDecoder {
  decode(tokens: readonly number[]): string;
}

/** Stands for bytes that are not (yet) a whole character. */
const REPLACEMENT = "\uFFFD";

/**
 * Text from tokens one by one. Decoders look at neighbours (spaces, bytes of one character), so each step decodes the last few
 * tokens with and without the new one and returns the difference, holding back what may still change: an incomplete
 * character.
 */
export class IncrementalDecoder {
  readonly #decoder: TokenDecoder;
  /** Tokens from the last whole piece of text on: context, then what was not returned yet. */
  #tokens: number[] = [];
  #returned = 0;

  constructor(decoder: TokenDecoder) {
    this.#decoder = decoder;
  }

  /** The text that this token completes; empty when it completes none. */
  push(token: number): string {
    this.#tokens.push(token);
    const before = this.#decoder.decode(this.#tokens.slice(0, this.#returned));
    const after = this.#decoder.decode(this.#tokens);
    if (after.length <= before.length || after.endsWith(REPLACEMENT)) {
      return "";
    }
    this.#tokens = this.#tokens.slice(this.#returned);
    this.#returned = this.#tokens.length;
    return after.slice(before.length);
  }

  /** What was held back, at the end of a text. */
  flush(): string {
    const before = this.#decoder.decode(this.#tokens.slice(0, this.#returned));
    const after = this.#decoder.decode(this.#tokens);
    this.#tokens = [];
    this.#returned = 0;
    return after.slice(before.length);
  }
}
