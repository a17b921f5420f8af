/**
 * Splits a template into tokens by Jinja2's rules: `trim_blocks` drops the line break after a block or comment, `lstrip_blocks`
 * the indentation before one, `-` strips all white space on its side and `+` switches both off. `{% raw %}` is text.
 */
import { JinjaError } from "./errors.ts";
import { escaped, quoted } from "./text.ts";

export type TokenType =
  | "data"
  | "blockBegin"
  | "blockEnd"
  | "variableBegin"
  | "variableEnd"
  | "name"
  | "string"
  | "integer"
  | "float"
  | "operator"
  | "end";

export interface Token {
  readonly type: TokenType;
  /** The text: of a string its value, of a name or an operator itself, of a number its digits without underscores. */
  readonly value: string;
  readonly line: number;
}

export interface LexerOptions {
  readonly trimBlocks: boolean;
  readonly lstripBlocks: boolean;
}

const SPACE = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const SPACES = new RegExp(`${SPACE}+`, "y");
const TRAILING_SPACES = new RegExp(`${SPACE}+$`);
const RAW_BEGIN = new RegExp(`\\{%([-+]?)${SPACE}*raw${SPACE}*(?:-%\\}${SPACE}*|%\\})`, "y");
const RAW_END = new RegExp(`\\{%([-+]?)${SPACE}*endraw${SPACE}*(\\+%\\}|-%\\}${SPACE}*|%\\})`, "g");
const FLOAT = /(?<!\.)(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?e[+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/iy;
const INTEGER = /0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*/iy;
const NAME = /[\p{L}\p{Nl}_][\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}]*/uy;
const STRING = /'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*"/sy;
const OPERATOR = /\/\/|\*\*|==|!=|>=|<=|[-+/*%~[\](){}><=.:|,;]/y;
const CLOSING: ReadonlyMap<string, string> = new Map([
  ["{", "}"],
  ["(", ")"],
  ["[", "]"],
]);

/** Tokens are made as they are asked for, so that the first error of a template is the one that is reported. */
export function tokenize(template: string, options: LexerOptions): Iterator<Token, undefined> {
  return new Lexer(template, options).tokens();
}

class Lexer {
  readonly #source: string;
  readonly #options: LexerOptions;
  /** Tokens that are ready. */
  readonly #ready: Token[] = [];
  /** What closes the tag that is being read; undefined in text. */
  #closing: "blockEnd" | "variableEnd" | undefined;
  /** Brackets that are open in the tag, by what closes them. */
  #open: string[] = [];
  #at = 0;
  #line = 1;
  /** The first line break at or behind the position. */
  #lineBreak: number;
  /** The token before ended with a line break (or the template starts here): indentation may follow. */
  #lineStarts = true;

  constructor(template: string, options: LexerOptions) {
    const source = template.replace(/\r\n|\r/g, "\n");
    this.#source = source.endsWith("\n") ? source.slice(0, -1) : source;
    this.#options = options;
    this.#lineBreak = this.#lineBreakFrom(0);
  }

  *tokens(): Generator<Token, undefined> {
    while (this.#at < this.#source.length) {
      if (this.#closing === undefined) {
        this.#text();
      } else {
        this.#code(this.#closing);
      }
      yield* this.#ready.splice(0);
    }
    yield { type: "end", value: "", line: this.#line };
  }

  #push(type: TokenType, value: string): void {
    this.#ready.push({ type, value, line: this.#line });
  }

  /** Moves over `length` characters, counting lines. */
  #advance(length: number): void {
    const end = this.#at + length;
    while (this.#lineBreak < end) {
      this.#line++;
      this.#lineBreak = this.#lineBreakFrom(this.#lineBreak + 1);
    }
    if (length > 0) {
      this.#lineStarts = this.#source[end - 1] === "\n";
    }
    this.#at = end;
  }

  #lineBreakFrom(start: number): number {
    const at = this.#source.indexOf("\n", start);
    return at === -1 ? Number.POSITIVE_INFINITY : at;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    return pattern.exec(this.#source)?.[0];
  }

  /** Text up to the next tag, and the tag. */
  #text(): void {
    let tag = this.#source.indexOf("{", this.#at);
    while (tag !== -1 && !"%{#".includes(this.#source[tag + 1] ?? " ")) {
      tag = this.#source.indexOf("{", tag + 1);
    }
    if (tag === -1) {
      this.#push("data", this.#source.slice(this.#at));
      this.#advance(this.#source.length - this.#at);
      return;
    }
    const opening = this.#source[tag + 1];
    const sign = /[-+]/.test(this.#source[tag + 2] ?? "") ? (this.#source[tag + 2] ?? "") : "";
    this.#data(this.#source.slice(this.#at, tag), sign, opening !== "{");
    this.#advance(tag - this.#at);
    if (opening === "%") {
      const raw = this.#match(RAW_BEGIN);
      if (raw !== undefined) {
        this.#advance(raw.length);
        this.#raw();
        return;
      }
    }
    const line = this.#line;
    this.#advance(2 + sign.length);
    if (opening === "#") {
      this.#comment(line);
    } else if (opening === "%") {
      this.#push("blockBegin", "{%");
      this.#enter("blockEnd");
    } else {
      this.#push("variableBegin", "{{");
      this.#enter("variableEnd");
    }
  }

  /** The text before a tag, stripped as the tag's sign and the options say. */
  #data(text: string, sign: string, strippable: boolean): void {
    let kept = text;
    if (sign === "-") {
      kept = text.replace(TRAILING_SPACES, "");
    } else if (sign !== "+" && strippable && this.#options.lstripBlocks) {
      const lineStart = text.lastIndexOf("\n") + 1;
      if ((lineStart > 0 || this.#lineStarts) && new RegExp(`^${SPACE}+$`).test(text.slice(lineStart))) {
        kept = text.slice(0, lineStart);
      }
    }
    if (kept !== "") {
      this.#push("data", kept);
    }
  }

  #raw(): void {
    RAW_END.lastIndex = this.#at;
    const match = RAW_END.exec(this.#source);
    if (match === null && this.#at === this.#source.length) {
      return;
    }
    if (match === null) {
      throw new JinjaError("TemplateSyntaxError", "Missing end of raw directive", this.#line);
    }
    this.#data(this.#source.slice(this.#at, match.index), match[1] ?? "", true);
    this.#advance(match.index - this.#at + match[0].length);
    if (match[2] === "%}") {
      this.#trimLineBreak();
    }
  }

  #comment(line: number): void {
    const end = this.#source.indexOf("#}", this.#at);
    if (end === -1 && this.#at === this.#source.length) {
      return;
    }
    if (end === -1) {
      throw new JinjaError("TemplateSyntaxError", "Missing end of comment tag", line);
    }
    const sign = end > this.#at ? this.#source[end - 1] : "";
    this.#advance(end + 2 - this.#at);
    if (sign === "-") {
      this.#advance(this.#match(SPACES)?.length ?? 0);
    } else if (sign !== "+") {
      this.#trimLineBreak();
    }
  }

  #trimLineBreak(): void {
    if (this.#options.trimBlocks && this.#source[this.#at] === "\n") {
      this.#advance(1);
    }
  }

  #enter(closing: "blockEnd" | "variableEnd"): void {
    this.#closing = closing;
    this.#open = [];
  }

  /** One token inside a tag. Brackets must balance before its end counts, so that `}}` can close two dicts. */
  #code(closing: "blockEnd" | "variableEnd"): void {
    if (this.#open.length === 0 && this.#closes(closing, closing === "blockEnd" ? "%}" : "}}")) {
      this.#closing = undefined;
      return;
    }
    const spaces = this.#match(SPACES);
    if (spaces === undefined) {
      this.#token(this.#open);
    } else {
      this.#advance(spaces.length);
    }
  }

  #closes(end: "blockEnd" | "variableEnd", mark: string): boolean {
    const stripping = this.#source.startsWith(`-${mark}`, this.#at);
    const keeping = end === "blockEnd" && this.#source.startsWith(`+${mark}`, this.#at);
    if (!stripping && !keeping && !this.#source.startsWith(mark, this.#at)) {
      return false;
    }
    this.#push(end, mark);
    this.#advance(stripping || keeping ? 3 : 2);
    if (stripping) {
      this.#advance(this.#match(SPACES)?.length ?? 0);
    } else if (!keeping && end === "blockEnd") {
      this.#trimLineBreak();
    }
    return true;
  }

  #token(open: string[]): void {
    for (const [type, pattern] of [
      ["float", FLOAT],
      ["integer", INTEGER],
      ["name", NAME],
      ["string", STRING],
      ["operator", OPERATOR],
    ] as const) {
      const text = this.#match(pattern);
      if (text === undefined) {
        continue;
      }
      if (type === "operator") {
        this.#balance(text, open);
      }
      const value =
        type === "string"
          ? unescape(text.slice(1, -1), this.#line)
          : type === "operator" || type === "name"
            ? text
            : text.replaceAll("_", "");
      this.#push(type, value);
      this.#advance(text.length);
      return;
    }
    const character = String.fromCodePoint(this.#source.codePointAt(this.#at) ?? 0);
    throw new JinjaError("TemplateSyntaxError", `unexpected char ${quoted(character)} at ${this.#at}`, this.#line);
  }

  #balance(operator: string, open: string[]): void {
    const closing = CLOSING.get(operator);
    if (closing !== undefined) {
      open.push(closing);
    } else if (operator === "}" || operator === ")" || operator === "]") {
      const expected = open.pop();
      if (expected !== operator) {
        const hint = expected === undefined ? "" : `, expected '${expected}'`;
        throw new JinjaError("TemplateSyntaxError", `unexpected '${operator}'${hint}`, this.#line);
      }
    }
  }
}

const SIMPLE_ESCAPES: ReadonlyMap<string, string> = new Map([
  ["n", "\n"],
  ["t", "\t"],
  ["r", "\r"],
  ["a", "\x07"],
  ["b", "\b"],
  ["f", "\f"],
  ["v", "\v"],
  ["\\", "\\"],
  ["'", "'"],
  ['"', '"'],
  ["\n", ""],
]);

/** A string literal's escapes, Python's: an unknown one keeps its backslash. */
function unescape(text: string, line: number): string {
  if (!text.includes("\\")) {
    return text;
  }
  return text.replace(
    /\\(?:([0-7]{1,3})|x([\da-fA-F]{0,2})|u([\da-fA-F]{0,4})|U([\da-fA-F]{0,8})|(.))/gsu,
    (whole: string, octal?: string, x?: string, u?: string, long?: string, other?: string) => {
      if (octal !== undefined) {
        return String.fromCodePoint(Number.parseInt(octal, 8));
      }
      const digits = x ?? u ?? long;
      if (digits !== undefined) {
        return fromHex(digits, x !== undefined ? "\\xXX" : u !== undefined ? "\\uXXXX" : "\\UXXXXXXXX", line);
      }
      if (other === "N") {
        throw new JinjaError("TemplateSyntaxError", "unknown Unicode character name", line);
      }
      const simple = SIMPLE_ESCAPES.get(other ?? "");
      if (simple !== undefined) {
        return simple;
      }
      // Python turns non-ASCII characters into escapes before it reads them: this backslash then escapes the one of those.
      return other !== undefined && (other.codePointAt(0) ?? 0) > 0x7f ? escaped(other) : whole;
    },
  );
}

/** @param form the escape as Python's messages write it; its length tells how many digits there must be. */
function fromHex(digits: string, form: string, line: number): string {
  const code = Number.parseInt(digits, 16);
  if (digits.length !== form.length - 2) {
    throw new JinjaError("TemplateSyntaxError", `truncated ${form} escape`, line);
  }
  if (code > 0x10ffff) {
    throw new JinjaError("TemplateSyntaxError", "illegal Unicode character", line);
  }
  return String.fromCodePoint(code);
}
