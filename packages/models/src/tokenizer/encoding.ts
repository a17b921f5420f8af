import type { Encoding as NativeEncoding } from "tokenizers";
import { TokenizerError } from "./errors.ts";

export type Side = "left" | "right";

/** A text as tokens. All lists have one entry a token; they are made when they are read. */
export class Encoding {
  readonly #native: NativeEncoding;
  /** Positions that were kept by truncation; undefined keeps all. */
  readonly #kept: readonly number[] | undefined;
  readonly #lists = new Map<string, unknown>();

  constructor(native: NativeEncoding, kept?: readonly number[]) {
    this.#native = native;
    this.#kept = kept;
  }

  #list<T>(name: string, read: () => T[]): readonly T[] {
    const known = this.#lists.get(name) as readonly T[] | undefined;
    if (known !== undefined) {
      return known;
    }
    const all = read();
    const list = this.#kept === undefined ? all : this.#kept.map((position) => all[position] as T);
    this.#lists.set(name, list);
    return list;
  }

  get length(): number {
    return this.#kept?.length ?? this.#native.getLength();
  }

  get ids(): readonly number[] {
    return this.#list("ids", () => this.#native.getIds());
  }

  get tokens(): readonly string[] {
    return this.#list("tokens", () => this.#native.getTokens());
  }

  /** `[start, end)` in the text, in Unicode code points; `[0, 0]` for special tokens that the post-processor added. */
  get offsets(): readonly (readonly [number, number])[] {
    return this.#list("offsets", () =>
      this.#native.getOffsets().map(([start = 0, end = 0]): [number, number] => [start, end]),
    );
  }

  /** 1 for special tokens that the post-processor added. */
  get specialTokensMask(): readonly number[] {
    return this.#list("specialTokensMask", () => this.#native.getSpecialTokensMask());
  }

  get attentionMask(): readonly number[] {
    return this.#list("attentionMask", () => this.#native.getAttentionMask());
  }

  get typeIds(): readonly number[] {
    return this.#list("typeIds", () => this.#native.getTypeIds());
  }

  /** 0 for tokens of the text, 1 for those of its pair, null for added special tokens. */
  get sequenceIds(): readonly (number | null)[] {
    return this.#list("sequenceIds", () => this.#native.getSequenceIds().map((id) => id ?? null));
  }

  /** The word that a token belongs to, counted by the pre-tokenizer; null for added special tokens. */
  get wordIds(): readonly (number | null)[] {
    return this.#list("wordIds", () => this.#native.getWordIds().map((id) => id ?? null));
  }

  /** The encoding with only some of its tokens, given by their positions. */
  select(positions: readonly number[]): Encoding {
    return new Encoding(
      this.#native,
      this.#kept === undefined ? positions : positions.map((position) => this.#kept?.[position] ?? position),
    );
  }

  /**
   * At most `limit` tokens: those of the text are cut, never the special ones around it. @throws TokenizerError where there is no room for
   * these, and for pairs.
   */
  truncated(limit: number, side: Side): Encoding {
    if (this.length <= limit) {
      return this;
    }
    const sequence = this.sequenceIds;
    const special = sequence.filter((id) => id === null).length;
    const room = limit - special;
    if (room < 0) {
      throw new TokenizerError(`maxLength ${limit} leaves no room for the ${special} special tokens of a sequence`);
    }
    if (sequence.includes(1)) {
      throw new TokenizerError("Truncation of pairs is not supported; encode the sequences one by one");
    }
    const text = sequence.flatMap((id, position) => (id === null ? [] : [position]));
    const kept = new Set(side === "right" ? text.slice(0, room) : text.slice(text.length - room));
    return this.select(sequence.flatMap((id, position) => (id === null || kept.has(position) ? [position] : [])));
  }

  /** Position of the token that holds a character (in code points) of the text or, with `sequence` 1, of its pair. */
  charToToken(position: number, sequence: 0 | 1 = 0): number | undefined {
    const index = this.offsets.findIndex(
      ([start, end], token) => position >= start && position < end && this.sequenceIds[token] === sequence,
    );
    return index === -1 ? undefined : index;
  }
}
