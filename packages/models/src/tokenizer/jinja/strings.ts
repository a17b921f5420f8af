/** Python's view of text on JavaScript strings: code points, its white space, its cases, its character classes. */

const SURROGATE = /[\ud800-\udfff]/;

export function hasSurrogates(text: string): boolean {
  return SURROGATE.test(text);
}

export function codePointLength(text: string): number {
  if (!SURROGATE.test(text)) {
    return text.length;
  }
  let count = 0;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code >= 0xd800 && code < 0xdc00) {
      const next = text.charCodeAt(index + 1);
      if (next >= 0xdc00 && next < 0xe000) {
        index++;
      }
    }
    count++;
  }
  return count;
}

/** The text's characters, a lone surrogate counting as one. */
export function codePoints(text: string): string[] {
  return SURROGATE.test(text) ? Array.from(text) : text.split("");
}

/** Order of strings by code points (UTF-16 order differs where surrogates meet U+E000…U+FFFF). */
export function compareText(a: string, b: string): number {
  if (a === b) {
    return 0;
  }
  if (!SURROGATE.test(a) || !SURROGATE.test(b)) {
    const length = Math.min(a.length, b.length);
    for (let index = 0; index < length; index++) {
      const left = a.codePointAt(index) ?? 0;
      const right = b.codePointAt(index) ?? 0;
      if (left !== right) {
        return left < right ? -1 : 1;
      }
    }
    return a.length < b.length ? -1 : 1;
  }
  const left = codePoints(a);
  const right = codePoints(b);
  for (let index = 0; index < Math.min(left.length, right.length); index++) {
    const difference = (left[index]?.codePointAt(0) ?? 0) - (right[index]?.codePointAt(0) ?? 0);
    if (difference !== 0) {
      return difference;
    }
  }
  return left.length - right.length;
}

/** What `str.isspace` holds for: Unicode white space and the separators U+001C…U+001F. */
const WHITESPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const SPACE_CHARACTER = new RegExp(`[${WHITESPACE}]`);
const LINE_BREAKS = "\\r\\n|[\\n\\r\\v\\f\\x1c-\\x1e\\x85\\u2028\\u2029]";
const LINE_BREAK = new RegExp(LINE_BREAKS, "g");

export function isSpace(character: string): boolean {
  return SPACE_CHARACTER.test(character);
}

export type Side = "both" | "left" | "right";

/** `str.strip`, `lstrip`, `rstrip`: white space, or any of the characters given. */
export function strip(text: string, characters: string | undefined, side: Side): string {
  const strips =
    characters === undefined
      ? isSpace
      : (
          (set) => (c: string) =>
            set.has(c)
        )(new Set(codePoints(characters)));
  if (characters !== undefined && (hasSurrogates(text) || hasSurrogates(characters))) {
    const points = codePoints(text);
    const [start, end] = stripBounds(points.length, (index) => strips(points[index] ?? ""), side);
    return points.slice(start, end).join("");
  }
  const [start, end] = stripBounds(text.length, (index) => strips(text.charAt(index)), side);
  return text.slice(start, end);
}

function stripBounds(length: number, strips: (index: number) => boolean, side: Side): [number, number] {
  let start = 0;
  let end = length;
  if (side !== "right") {
    while (start < end && strips(start)) {
      start++;
    }
  }
  if (side !== "left") {
    while (end > start && strips(end - 1)) {
      end--;
    }
  }
  return [start, end];
}

/** `str.splitlines`: no empty line after a final break. */
export function splitLines(text: string, keepEnds = false): string[] {
  const lines: string[] = [];
  let start = 0;
  for (const match of text.matchAll(LINE_BREAK)) {
    lines.push(text.slice(start, keepEnds ? match.index + match[0].length : match.index));
    start = match.index + match[0].length;
  }
  if (start < text.length) {
    lines.push(text.slice(start));
  }
  return lines;
}

/** `str.split()` without a separator: runs of white space divide. `limit` < 0 means no limit. */
export function splitWhitespace(text: string, limit: number): string[] {
  const parts: string[] = [];
  let at = 0;
  while (true) {
    while (at < text.length && isSpace(text.charAt(at))) {
      at++;
    }
    if (at >= text.length) {
      return parts;
    }
    if (limit >= 0 && parts.length >= limit) {
      parts.push(text.slice(at));
      return parts;
    }
    const start = at;
    while (at < text.length && !isSpace(text.charAt(at))) {
      at++;
    }
    parts.push(text.slice(start, at));
  }
}

export function splitWhitespaceRight(text: string, limit: number): string[] {
  const parts: string[] = [];
  let end = text.length;
  while (true) {
    while (end > 0 && isSpace(text.charAt(end - 1))) {
      end--;
    }
    if (end <= 0) {
      return parts.reverse();
    }
    if (limit >= 0 && parts.length >= limit) {
      parts.push(text.slice(0, end));
      return parts.reverse();
    }
    const stop = end;
    while (end > 0 && !isSpace(text.charAt(end - 1))) {
      end--;
    }
    parts.push(text.slice(end, stop));
  }
}

/** `str.capitalize`. */
export function capitalize(text: string): string {
  const [first = "", ...rest] = codePoints(text);
  return titleCase(first) + rest.join("").toLowerCase();
}

/** Letters with a title case of their own: upper, title and lower form. */
const DIGRAPHS = ["Ǆǅǆ", "Ǉǈǉ", "Ǌǋǌ", "Ǳǲǳ"];

/** Upper case of a first letter: one that expands ("ß", ligatures) keeps its tail in lower case. */
function titleCase(character: string): string {
  const digraph = DIGRAPHS.find((forms) => forms.includes(character));
  if (digraph !== undefined && character !== "") {
    return digraph.charAt(1);
  }
  const [first = "", ...rest] = codePoints(character.toUpperCase());
  return first + rest.join("").toLowerCase();
}

const CASED = /[\p{Lu}\p{Ll}\p{Lt}]/u;

/** `str.title`: a letter after a letter is lowered, any other is raised. */
export function titleWords(text: string): string {
  let afterLetter = false;
  return codePoints(text)
    .map((character) => {
      const changed = afterLetter ? character.toLowerCase() : titleCase(character);
      afterLetter = CASED.test(character);
      return changed;
    })
    .join("");
}

export function swapCase(text: string): string {
  return codePoints(text)
    .map((character) => (/\p{Lu}/u.test(character) ? character.toLowerCase() : character.toUpperCase()))
    .join("");
}

const every = (pattern: RegExp) => (text: string) => text !== "" && pattern.test(text);

/** The `is…` methods of Python's strings. */
export const CHARACTER_TESTS: ReadonlyMap<string, (text: string) => boolean> = new Map([
  ["isalpha", every(/^\p{L}*$/u)],
  ["isalnum", every(/^[\p{L}\p{N}]*$/u)],
  ["isdecimal", every(/^\p{Nd}*$/u)],
  ["isdigit", every(/^[\p{Nd}²³¹⁰⁴-⁹₀-₉]*$/u)],
  ["isnumeric", every(/^\p{N}*$/u)],
  ["isspace", every(new RegExp(`^[${WHITESPACE}]*$`))],
  ["islower", (text) => /\p{Ll}/u.test(text) && !/[\p{Lu}\p{Lt}]/u.test(text)],
  ["isupper", (text) => /\p{Lu}/u.test(text) && !/[\p{Ll}\p{Lt}]/u.test(text)],
  ["istitle", (text) => CASED.test(text) && titleWords(text) === text],
  ["isascii", (text) => !/[^\0-\x7f]/.test(text)],
  ["isidentifier", (text) => /^[\p{L}\p{Nl}_][\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}]*$/u.test(text)],
  ["isprintable", (text) => !UNPRINTABLE.test(text)],
]);

/** What `repr` escapes: everything of the categories Other and Separator but the space. */
export const UNPRINTABLE: RegExp = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u;
