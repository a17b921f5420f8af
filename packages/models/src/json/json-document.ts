/**
 * JSON with the two things that `JSON.parse` does not tell: duplicate keys (it keeps the last one silently), and the line
 * on which a key stands, for messages.
 */

export interface JsonDocument {
  readonly value: unknown;
  /** Paths of keys that occur more than once in their object, as `a.b.c`, in file order. */
  readonly duplicateKeys: readonly string[];
  /** Line (from 1) of a key, given its path from the root; undefined for a path that is not there or too deep to be kept. */
  readonly lineOf: (path: readonly (string | number)[]) => number | undefined;
}

/** Keys below this depth get no line numbers: configuration files are not deeper, and the rest would only cost memory. */
const LINE_DEPTH = 3;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COMMA = 0x2c;
const NEWLINE = 0x0a;

interface Container {
  readonly keys: Set<string> | undefined; // undefined for an array
  step: string | number; // the key or index that is being read
  expectsKey: boolean;
}

/** Parses JSON text. @throws SyntaxError as `JSON.parse` does. */
export function parseJson(text: string): JsonDocument {
  const value: unknown = JSON.parse(text);
  const duplicateKeys: string[] = [];
  const lines = new Map<string, number>();
  const stack: Container[] = [];
  let line = 1;

  // The text is valid JSON here, so a scan for strings and brackets is enough.
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    const top = stack.at(-1);
    if (code === NEWLINE) {
      line++;
    } else if (code === QUOTE) {
      const end = endOfString(text, at);
      if (top?.keys !== undefined && top.expectsKey) {
        const key = JSON.parse(text.slice(at, end)) as string;
        top.step = key;
        top.expectsKey = false;
        if (top.keys.has(key)) {
          duplicateKeys.push(stack.map((container) => container.step).join("."));
        }
        top.keys.add(key);
        if (stack.length <= LINE_DEPTH) {
          lines.set(pathKey(stack.map((container) => container.step)), line);
        }
      }
      at = end - 1;
    } else if (code === OPEN_BRACE) {
      stack.push({ keys: new Set(), step: "", expectsKey: true });
    } else if (code === OPEN_BRACKET) {
      stack.push({ keys: undefined, step: 0, expectsKey: false });
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      stack.pop();
    } else if (code === COMMA && top !== undefined) {
      if (top.keys !== undefined) {
        top.expectsKey = true;
      } else {
        top.step = Number(top.step) + 1;
      }
    }
  }
  return { value, duplicateKeys, lineOf: (path) => lines.get(pathKey(path)) };
}

/** Index after the closing quote of the string that starts at `start`. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (text.charCodeAt(at) !== QUOTE) {
    at += text.charCodeAt(at) === BACKSLASH ? 2 : 1;
  }
  return at + 1;
}

function pathKey(path: readonly (string | number)[]): string {
  return JSON.stringify(path.map(String));
}
