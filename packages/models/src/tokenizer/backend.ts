/** The native tokenizer with what this package keeps beside it: added tokens by id, and a decoder that works without waiting. */
import { AddedToken as NativeAddedToken, Tokenizer, type Encoding as NativeEncoding } from "tokenizers";
import { nativeText, type AddedTokenEntry, type TokenizerDefinition } from "./definition/definition.ts";
import { Place, type JsonObject } from "./definition/place.ts";
import { TokenizerError } from "./errors.ts";
import type { AddedToken } from "./special-tokens.ts";

export class Backend {
  readonly definition: TokenizerDefinition;
  readonly #added = new Map<string, AddedTokenEntry>();
  readonly #special = new Set<string>();
  #native: Tokenizer;
  #decoder: ReturnType<Tokenizer["getDecoder"]>;

  constructor(definition: TokenizerDefinition) {
    this.definition = definition;
    this.#native = this.#build(definition, definition.postProcessor);
    this.#decoder = this.#native.getDecoder();
    definition.addedTokens.forEach((token, index) => {
      const id = this.#native.tokenToId(token.content);
      if (id !== token.id) {
        new Place(definition.file)
          .at("added_tokens")
          .at(index)
          .fail(
            `the token ${JSON.stringify(token.content)} gets the id ${String(id)} from its place in the vocabulary, not ${token.id}`,
          );
      }
      this.#register(token);
    });
  }

  #build(definition: TokenizerDefinition, postProcessor: JsonObject | undefined): Tokenizer {
    try {
      return Tokenizer.fromString(nativeText(definition, postProcessor));
    } catch (error) {
      throw new TokenizerError(`${definition.file}: the tokenizers library rejects it: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  /** Added tokens by content, ids ascending. */
  get addedTokens(): readonly AddedTokenEntry[] {
    return [...this.#added.values()].sort((a, b) => a.id - b.id);
  }

  get modelSize(): number {
    return this.#native.getVocabSize(false);
  }

  get size(): number {
    return this.#native.getVocabSize(true);
  }

  get vocabulary(): Readonly<Record<string, number>> {
    return this.#native.getVocab(true);
  }

  tokenToId(token: string): number | undefined {
    return this.#native.tokenToId(token) ?? undefined;
  }

  idToToken(id: number): string | undefined {
    return this.#native.idToToken(id) ?? undefined;
  }

  /** True for tokens that are or once were marked as special: in the library, too, that mark stays. */
  isSpecial(token: string): boolean {
    return this.#special.has(token);
  }

  /** Adds tokens, or changes the flags of those that are there. Returns how many are new to the vocabulary. */
  add(tokens: readonly AddedToken[]): number {
    const before = this.size;
    this.#native.addAddedTokens(
      tokens.map(
        (token) =>
          new NativeAddedToken(token.content, token.special, {
            singleWord: token.singleWord,
            leftStrip: token.lstrip,
            rightStrip: token.rstrip,
            normalized: token.normalized,
          }),
      ),
    );
    for (const token of tokens) {
      const id = this.tokenToId(token.content);
      if (id === undefined) {
        throw new TokenizerError(`The tokenizers library does not take the token ${JSON.stringify(token.content)}`);
      }
      this.#register({
        id,
        content: token.content,
        single_word: token.singleWord,
        lstrip: token.lstrip,
        rstrip: token.rstrip,
        normalized: token.normalized,
        special: token.special,
      });
    }
    return this.size - before;
  }

  #register(token: AddedTokenEntry): void {
    this.#added.set(token.content, token);
    if (token.special) {
      this.#special.add(token.content);
    }
  }

  /** Replaces the post-processor; the library is built anew, with the tokens that were added. */
  setPostProcessor(postProcessor: JsonObject | undefined): void {
    const added = this.addedTokens;
    this.#native = this.#build({ ...this.definition, addedTokens: added }, postProcessor);
    this.#decoder = this.#native.getDecoder();
    for (const token of added) {
      if (this.tokenToId(token.content) !== token.id) {
        throw new TokenizerError(
          `The token ${JSON.stringify(token.content)} would change its id; give addBosToken and addEosToken when loading`,
        );
      }
    }
  }

  async encode(text: string, pair: string | undefined, addSpecialTokens: boolean): Promise<NativeEncoding> {
    try {
      return await this.#native.encode(text, pair ?? null, { addSpecialTokens });
    } catch (error) {
      throw new TokenizerError(`The text cannot be encoded: ${messageOf(error)}`, { cause: error });
    }
  }

  async encodeBatch(
    texts: readonly (string | readonly [string, string])[],
    addSpecialTokens: boolean,
  ): Promise<NativeEncoding[]> {
    try {
      return await this.#native.encodeBatch(
        texts.map((text) => (typeof text === "string" ? text : [text[0], text[1]])),
        { addSpecialTokens },
      );
    } catch (error) {
      throw new TokenizerError(`The texts cannot be encoded: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Tokens to text by the decoder; without one they are joined by spaces. */
  decodeTokens(tokens: string[]): string {
    if (tokens.length === 0) {
      return "";
    }
    try {
      return this.#decoder === null ? tokens.join(" ") : this.#decoder.decode(tokens);
    } catch (error) {
      throw new TokenizerError(`The tokens cannot be decoded: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Writes tokenizer.json as the library does. */
  save(path: string): void {
    this.#native.save(path, true);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
