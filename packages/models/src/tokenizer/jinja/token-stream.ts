import { JinjaError } from "./errors.ts";
import type { Token, TokenType } from "./lexer.ts";

const DESCRIPTIONS: Partial<Record<TokenType, string>> = {
  data: "template data / text",
  blockBegin: "begin of statement block",
  blockEnd: "end of statement block",
  variableBegin: "begin of print statement",
  variableEnd: "end of print statement",
  end: "end of template",
};

export function describe(token: Token): string {
  return token.type === "string" || token.type === "integer" || token.type === "float"
    ? token.type
    : (DESCRIPTIONS[token.type] ?? token.value);
}

const END: Token = { type: "end", value: "", line: 1 };

/** The parser's position in the tokens: the current one and the one behind it. */
export class TokenStream {
  readonly #source: Iterator<Token, undefined>;
  #current: Token;
  #ahead: Token | undefined;

  constructor(source: Iterator<Token, undefined>) {
    this.#source = source;
    this.#current = source.next().value ?? END;
  }

  get current(): Token {
    return this.#current;
  }

  get next(): Token {
    this.#ahead ??= this.#source.next().value ?? this.#current;
    return this.#ahead;
  }

  take(): Token {
    const token = this.#current;
    if (token.type !== "end") {
      this.#current = this.next;
      this.#ahead = undefined;
    }
    return token;
  }

  is(type: TokenType, value?: string): boolean {
    return this.current.type === type && (value === undefined || this.current.value === value);
  }

  isName(...names: string[]): boolean {
    return this.current.type === "name" && names.includes(this.current.value);
  }

  skip(type: TokenType, value: string): boolean {
    const found = this.is(type, value);
    if (found) {
      this.take();
    }
    return found;
  }

  expect(type: TokenType, value?: string): Token {
    if (this.is(type, value)) {
      return this.take();
    }
    const wanted = value ?? DESCRIPTIONS[type] ?? type;
    return this.fail(
      this.is("end")
        ? `unexpected end of template, expected '${wanted}'.`
        : `expected token '${wanted}', got '${describe(this.current)}'`,
    );
  }

  fail(message: string, line: number = this.current.line): never {
    throw new JinjaError("TemplateSyntaxError", message, line);
  }
}
