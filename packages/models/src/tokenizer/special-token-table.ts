import type { Backend } from "./backend.ts";
import { TokenizerError } from "./errors.ts";
import { boundaryPostProcessor } from "./post-processor.ts";
import { specialToken, SPECIAL_TOKEN_NAMES, type AddedToken, type SpecialTokenName } from "./special-tokens.ts";

/** Special tokens to be named, and added where the vocabulary lacks them. */
export type NewSpecialTokens = Partial<Readonly<Record<SpecialTokenName, string>>> & {
  readonly additional_special_tokens?: readonly string[];
};

/** What a table begins with: what the files say. */
export interface DeclaredSpecialTokens {
  readonly backend: Backend;
  readonly named: ReadonlyMap<string, string>;
  readonly extra: readonly string[];
  readonly addBosToken: boolean;
  readonly addEosToken: boolean;
}

/** Which tokens of a vocabulary are special, by which names, and which of them begin and end a sequence. */
export class SpecialTokenTable {
  readonly #backend: Backend;
  readonly #named: Map<string, string>;
  #extra: readonly string[];
  #addBosToken: boolean;
  #addEosToken: boolean;
  /** What differs from the files, for saving. */
  readonly changed = { tokens: false, processor: false };

  constructor({ backend, named, extra, addBosToken, addEosToken }: DeclaredSpecialTokens) {
    this.#backend = backend;
    this.#named = new Map(named);
    this.#extra = extra;
    this.#addBosToken = addBosToken;
    this.#addEosToken = addEosToken;
  }

  get named(): ReadonlyMap<string, string> {
    return this.#named;
  }
  get extra(): readonly string[] {
    return this.#extra;
  }
  get addBosToken(): boolean {
    return this.#addBosToken;
  }
  get addEosToken(): boolean {
    return this.#addEosToken;
  }

  get(name: SpecialTokenName): string | undefined {
    return this.#named.get(name);
  }

  idOf(name: SpecialTokenName): number | undefined {
    const token = this.#named.get(name);
    return token === undefined ? undefined : this.#backend.tokenToId(token);
  }

  /** Names a token of the vocabulary, or takes the name away. */
  name(name: SpecialTokenName, token: string | undefined): void {
    if (token !== undefined && this.#backend.tokenToId(token) === undefined) {
      throw new TokenizerError(
        `${JSON.stringify(token)} is not in the vocabulary and cannot be the ${name}; add it with addSpecialTokens`,
      );
    }
    if (token === undefined) {
      this.#named.delete(name);
    } else {
      this.#named.set(name, token);
    }
    this.#renamed([name]);
  }

  /** Returns how many are new to the vocabulary. */
  add(tokens: NewSpecialTokens): number {
    const additional = tokens.additional_special_tokens;
    const named = Object.entries(tokens).filter(([name]) => name !== "additional_special_tokens");
    for (const [name, token] of named) {
      if (!SPECIAL_TOKEN_NAMES.some((known) => known === name)) {
        throw new TokenizerError(
          `${JSON.stringify(name)} is no special token's name; they are ${SPECIAL_TOKEN_NAMES.join(", ")} and additional_special_tokens`,
        );
      }
      requireToken(token, name);
    }
    additional?.forEach((token) => requireToken(token, "additional_special_tokens"));
    const contents = [...named.map(([, token]) => String(token)), ...(additional ?? [])];
    const added = this.addPlain([...new Set(contents)].map(specialToken));
    for (const [name, token] of named) {
      this.#named.set(name, String(token));
    }
    if (additional !== undefined) {
      this.#extra = [...additional];
    }
    this.#renamed(Object.keys(tokens));
    return added;
  }

  /** Adds tokens to the vocabulary without a name. Returns how many are new. */
  addPlain(tokens: readonly AddedToken[]): number {
    if (tokens.length === 0) {
      return 0;
    }
    this.changed.tokens = true;
    return this.#backend.add(tokens);
  }

  /** @throws TokenizerError where a token that is asked for has no name. */
  setBoundaries(addBosToken: boolean, addEosToken: boolean): void {
    const bos = addBosToken ? this.#boundary("bos_token") : undefined;
    const eos = addEosToken ? this.#boundary("eos_token") : undefined;
    this.#backend.setPostProcessor(boundaryPostProcessor(bos, eos));
    this.#addBosToken = addBosToken;
    this.#addEosToken = addEosToken;
    this.changed.processor = true;
  }

  // A post-processor that was set here knows its tokens by their ids.
  #renamed(names: readonly string[]): void {
    this.changed.tokens = true;
    if (this.changed.processor && names.some((name) => name === "bos_token" || name === "eos_token")) {
      this.setBoundaries(this.#addBosToken, this.#addEosToken);
    }
  }

  #boundary(name: SpecialTokenName): { readonly token: string; readonly id: number } {
    const token = this.#named.get(name);
    const id = this.idOf(name);
    if (token === undefined || id === undefined) {
      throw new TokenizerError(`This tokenizer has no ${name} that could be added to sequences`);
    }
    return { token, id };
  }
}

/** @throws TokenizerError for what can be no token: anything but well-formed text. */
export function requireToken(value: unknown, where: string): void {
  if (typeof value !== "string" || value === "" || !value.isWellFormed()) {
    throw new TokenizerError(`${where}: expected a token, found ${JSON.stringify(value) ?? typeof value}`);
  }
}
