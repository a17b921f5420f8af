import { runInNewContext } from "node:vm";

import { AdapterConfigError } from "./errors.ts";

/**
 * Python regular expressions (module `re`) as JavaScript ones. PEFT's configurations hold Python expressions: most are the same
 * in both languages; what is written differently is rewritten, and what JavaScript lacks is refused with its position.
 * Module names are ASCII, so the Unicode reading of \w, \d and \s in Python makes no difference here.
 */

/** As `re.fullmatch(pattern, name)`: the whole name must match. @throws AdapterConfigError when not translatable. */
export function compileFullMatch(pattern: string, where: string): RegExp {
  return compile(pattern, where, (body) => `^(?:${body})$`);
}

/** As `re.match(pattern, name)`: a match that starts at the first character. @throws AdapterConfigError when not translatable. */
export function compileMatch(pattern: string, where: string): RegExp {
  return compile(pattern, where, (body) => `^(?:${body})`);
}

/** Milliseconds that matching all modules of a model may take; it takes one or two. */
const TIME_LIMIT = 2000;

/**
 * Runs the matching of all names. An expression may take exponential time ("(a*)*b"), and configurations come from anywhere: after a
 * few seconds it is stopped.
 * @throws AdapterConfigError when it takes too long
 */
export function withinTime<T>(where: string, body: () => T): T {
  try {
    // The time limit of the vm module also holds for what the script calls, and inside the matching itself.
    return runInNewContext("body()", { body }, { timeout: TIME_LIMIT }) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_SCRIPT_EXECUTION_TIMEOUT") {
      throw new AdapterConfigError(
        `${where}: the regular expression takes too long on the module names of the model. Nested repetitions, such as ` +
          '"(.*)*", are the usual reason.',
        { cause: error },
      );
    }
    throw error;
  }
}

function compile(pattern: string, where: string, anchor: (body: string) => string): RegExp {
  const { body, flags } = new Translator(pattern, where).translate();
  try {
    return new RegExp(anchor(body), flags);
  } catch (error) {
    throw new AdapterConfigError(
      `${where}: ${JSON.stringify(pattern)} is not a valid regular expression: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

/** Letters whose escape means the same in both languages. */
const SAME_ESCAPES = new Set("dDwWsSbBnrtfv");
/** Inline flags with a JavaScript counterpart; `a` and `u` only choose how \w and its like read text outside ASCII. */
const FLAGS = new Map<string, string>([
  ["i", "i"],
  ["m", "m"],
  ["s", "s"],
  ["a", ""],
  ["u", ""],
]);

class Translator {
  readonly #pattern: string;
  readonly #where: string;
  #at = 0;
  #out = "";
  #flags = "";

  constructor(pattern: string, where: string) {
    this.#pattern = pattern;
    this.#where = where;
  }

  translate(): { body: string; flags: string } {
    while (this.#at < this.#pattern.length) {
      const character = this.#pattern.charAt(this.#at);
      if (character === "\\") {
        this.#escape();
      } else if (character === "[") {
        this.#characterClass();
      } else if (character === "(") {
        this.#group();
      } else if ("*+?}".includes(character)) {
        this.#quantifier(character);
      } else if (character === "{") {
        this.#braces();
      } else {
        this.#copy(1);
      }
    }
    return { body: this.#out, flags: [...new Set(this.#flags)].join("") };
  }

  #copy(length: number): void {
    this.#out += this.#pattern.slice(this.#at, this.#at + length);
    this.#at += length;
  }

  /** Replaces `length` characters of the pattern by `text`. */
  #replace(length: number, text: string): void {
    this.#out += text;
    this.#at += length;
  }

  #rest(): string {
    return this.#pattern.slice(this.#at);
  }

  #escape(): void {
    const next = this.#pattern.charAt(this.#at + 1);
    if (next === "A") {
      this.#replace(2, "(?<![\\s\\S])");
    } else if (next === "Z") {
      this.#replace(2, "(?![\\s\\S])");
    } else {
      this.#commonEscape(next);
    }
  }

  /** Escapes that may also stand inside a character class. */
  #commonEscape(next: string): void {
    if (next === "") {
      this.#refuse("a lone backslash at the end");
    }
    if (next === "a") {
      this.#replace(2, "\\x07");
    } else if (/^\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4})/.test(this.#rest())) {
      this.#copy(next === "x" ? 4 : 6);
    } else if (/[A-Za-z]/.test(next) && !SAME_ESCAPES.has(next)) {
      this.#refuse(`the escape \\${next}`);
    } else if (next === "0") {
      this.#refuse("an octal escape");
    } else {
      this.#copy(2);
    }
  }

  #characterClass(): void {
    const start = this.#at;
    this.#copy(1);
    if (this.#pattern.charAt(this.#at) === "^") {
      this.#copy(1);
    }
    // A bracket in the first place is a member in Python and the end in JavaScript.
    if (this.#pattern.charAt(this.#at) === "]") {
      this.#replace(1, "\\]");
    }
    for (;;) {
      const character = this.#pattern.charAt(this.#at);
      if (character === "") {
        this.#at = start;
        this.#refuse("an unterminated character set");
      }
      if (character === "\\") {
        this.#commonEscape(this.#pattern.charAt(this.#at + 1));
      } else if (character === "[") {
        this.#replace(1, "\\[");
      } else {
        this.#copy(1);
        if (character === "]") {
          return;
        }
      }
    }
  }

  #group(): void {
    const rest = this.#rest();
    const named = /^\(\?P<([A-Za-z_]\w*)>/.exec(rest);
    const reference = /^\(\?P=([A-Za-z_]\w*)\)/.exec(rest);
    const flags = /^\(\?([aiLmsux]+)\)/.exec(rest);
    const comment = /^\(\?#[^)]*\)/.exec(rest);
    if (named !== null) {
      this.#replace(named[0].length, `(?<${named[1]}>`);
    } else if (reference !== null) {
      this.#replace(reference[0].length, `\\k<${reference[1]}>`);
    } else if (comment !== null) {
      this.#replace(comment[0].length, "(?:)");
    } else if (flags !== null) {
      this.#inlineFlags(flags[0], flags[1] ?? "");
    } else if (/^\(\?(?::|=|!|<=|<!)/.test(rest)) {
      this.#copy(rest.startsWith("(?<") ? 4 : 3);
    } else if (rest.startsWith("(?")) {
      this.#refuse(`the group ${rest.slice(0, 4)}`);
    } else {
      this.#copy(1);
    }
  }

  #inlineFlags(text: string, letters: string): void {
    if (this.#at !== 0) {
      this.#refuse("flags that are not at the start");
    }
    for (const letter of letters) {
      const flag = FLAGS.get(letter);
      if (flag === undefined) {
        this.#refuse(`the flag ${letter}`);
      }
      this.#flags += flag;
    }
    this.#at += text.length;
  }

  #quantifier(character: string): void {
    this.#copy(1);
    if (character !== "}") {
      this.#afterQuantifier();
    }
  }

  #braces(): void {
    const bounds = /^\{(\d*)(,?)(\d*)\}/.exec(this.#rest());
    if (bounds === null || (bounds[1] === "" && bounds[2] === "")) {
      this.#replace(1, "\\{"); // a literal brace in Python
    } else {
      const from = bounds[1] === "" ? "0" : bounds[1];
      this.#replace(bounds[0].length, `{${from}${bounds[2]}${bounds[3]}}`);
      this.#afterQuantifier();
    }
  }

  #afterQuantifier(): void {
    const next = this.#pattern.charAt(this.#at);
    if (next === "?") {
      this.#copy(1);
    } else if (next === "+") {
      this.#refuse("a possessive quantifier");
    }
  }

  #refuse(what: string): never {
    throw new AdapterConfigError(
      `${this.#where}: the regular expression ${JSON.stringify(this.#pattern)} uses ${what} at position ` +
        `${this.#at}, which has no JavaScript counterpart. Rewrite it, or list the module names instead.`,
    );
  }
}
