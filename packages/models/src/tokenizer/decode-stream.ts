import { flattened } from "./definition/components.ts";
import type { JsonObject } from "./definition/place.ts";
import { TokenizerError } from "./errors.ts";

export interface DecodeStreamOptions {
  /** Leave special tokens out. Default false. */
  readonly skipSpecialTokens?: boolean;
  /** Leave out ids that stand for no token, in place of an error. */
  readonly skipUnknownIds?: boolean;
}

/** Takes tokens, gives the text that they complete. */
interface Piecewise {
  push(tokens: readonly string[]): string;
  /** What was held back. */
  finish(): string;
}

/**
 * Decodes ids as they come. All pieces together are exactly what decoding all ids at once gives, so text is held back until no
 * later token can change it: a byte-level tokenizer waits for the rest of a character; one with byte fallback waits for the end
 * of a run of byte tokens, as the whole run turns into replacement characters if it is no valid UTF-8.
 *
 * @throws TokenizerError for the decoders whose text depends on later tokens throughout (CTC, BPEDecoder, and others after Fuse).
 */
export class DecodeStream {
  readonly #piecewise: Piecewise;
  readonly #tokensOf: (ids: Iterable<number>) => readonly string[];

  constructor(
    decoder: JsonObject | undefined,
    decode: (tokens: readonly string[]) => string,
    tokensOf: (ids: Iterable<number>) => readonly string[],
  ) {
    this.#tokensOf = tokensOf;
    const parts = flattened(decoder, "decoders");
    const types = parts.map((part) => String(part["type"]));
    if (types.length === 1 && types[0] === "ByteLevel") {
      this.#piecewise = new ByteLevelPieces();
    } else {
      requireLocal(types);
      this.#piecewise = new LocalPieces(decode, types.includes("ByteFallback"));
    }
  }

  /** The text that these ids complete, possibly none. */
  push(ids: number | Iterable<number>): string {
    return this.#piecewise.push(this.#tokensOf(typeof ids === "number" ? [ids] : ids));
  }

  /** The text that was held back; the stream then starts anew. */
  finish(): string {
    return this.#piecewise.finish();
  }
}

/** Decoders that look at one token at a time, but for the first token of a text. */
const LOCAL: ReadonlySet<string> = new Set(["Replace", "ByteFallback", "Metaspace", "WordPiece", "Fuse"]);

function requireLocal(types: readonly string[]): void {
  const fuse = types.indexOf("Fuse");
  const allowed = types.every((type, index) => (fuse !== -1 && index > fuse ? type === "Strip" : LOCAL.has(type)));
  if (!allowed) {
    throw new TokenizerError(`Text cannot be streamed with the decoder ${types.join(" → ")}: decode all ids at once`);
  }
}

/** The byte of each character in byte-level tokens: printable Latin-1 stands for itself, the others follow from U+0100 on. */
const BYTE_OF: ReadonlyMap<string, number> = byteCharacters();

function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

function byteCharacters(): Map<string, number> {
  const characters = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 0x100; byte++) {
    characters.set(String.fromCharCode(isPrintable(byte) ? byte : next++), byte);
  }
  return characters;
}

class ByteLevelPieces implements Piecewise {
  #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  push(tokens: readonly string[]): string {
    return tokens.map((token) => this.#decoder.decode(bytesOf(token), { stream: true })).join("");
  }

  finish(): string {
    const rest = this.#decoder.decode();
    this.#decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return rest;
  }
}

/** A token's bytes; one with a character outside of the alphabet (an added token) is text. */
function bytesOf(token: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of token) {
    const byte = BYTE_OF.get(character);
    if (byte === undefined) {
      return Buffer.from(token, "utf8");
    }
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

const BYTE_TOKEN = /^<0x[0-9A-Fa-f]{2}>$/;

class LocalPieces implements Piecewise {
  readonly #decode: (tokens: readonly string[]) => string;
  readonly #hasByteFallback: boolean;
  /** Tokens whose text has been given and is not empty: behind them a token is not the first of its text. */
  #context: readonly string[] = [];
  #contextText = "";
  #held: string[] = [];

  constructor(decode: (tokens: readonly string[]) => string, hasByteFallback: boolean) {
    this.#decode = decode;
    this.#hasByteFallback = hasByteFallback;
  }

  push(tokens: readonly string[]): string {
    let text = "";
    for (const token of tokens) {
      this.#held.push(token);
      if (!(this.#hasByteFallback && BYTE_TOKEN.test(token))) {
        text += this.#release();
      }
    }
    return text;
  }

  finish(): string {
    const rest = this.#held.length === 0 ? "" : this.#release();
    this.#context = [];
    this.#contextText = "";
    this.#held = [];
    return rest;
  }

  #release(): string {
    const all = [...this.#context, ...this.#held];
    const piece = this.#decode(all).slice(this.#contextText.length);
    const heldText = this.#decode(this.#held);
    [this.#context, this.#contextText] = heldText === "" ? [all, this.#contextText + piece] : [this.#held, heldText];
    this.#held = [];
    return piece;
  }
}
