/** Smallest number of characters that a match of an Oniguruma pattern can have; 0 also where the pattern is not understood. */
export function smallestMatch(pattern: string): number {
  const reader = new PatternReader(pattern);
  const width = reader.alternatives();
  return reader.isAtEnd ? width : 0;
}

/** Escapes that match between characters, and references, which may match nothing. */
const EMPTY_ESCAPES = /[bBAzZGKkg1-9]/;

class PatternReader {
  readonly #pattern: string;
  #at = 0;
  #depth = 0;

  constructor(pattern: string) {
    this.#pattern = pattern;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#pattern.length;
  }

  get #next(): string {
    return this.#pattern[this.#at] ?? "";
  }

  #take(): string {
    return this.#pattern[this.#at++] ?? "";
  }

  #match(expression: RegExp): string | undefined {
    expression.lastIndex = this.#at;
    const text = expression.exec(this.#pattern)?.[0];
    this.#at += text?.length ?? 0;
    return text;
  }

  alternatives(): number {
    let smallest = this.#sequence();
    while (this.#next === "|") {
      this.#take();
      smallest = Math.min(smallest, this.#sequence());
    }
    return smallest;
  }

  #sequence(): number {
    let width = 0;
    while (!this.isAtEnd && this.#next !== "|" && this.#next !== ")") {
      const atom = this.#atom();
      width += this.#isOptional() ? 0 : atom;
    }
    return width;
  }

  /** Takes the quantifiers of an atom; true if one of them allows none of it. */
  #isOptional(): boolean {
    let optional = false;
    for (let mark = this.#match(/[*?+]|\{\d*,?\d*\}/y); mark !== undefined; mark = this.#match(/[*?+]|\{\d*,?\d*\}/y)) {
      // A "?" or "+" behind another quantifier makes it lazy or possessive; taking it for one of its own errs on the safe side.
      optional ||= mark === "*" || mark === "?" || /^\{(?:0*[,}])/.test(mark);
    }
    return optional;
  }

  #atom(): number {
    const character = this.#take();
    switch (character) {
      case "(":
        return this.#group();
      case "[":
        return this.#set();
      case "^":
      case "$":
        return 0;
      case "\\":
        return this.#escape();
      default:
        return 1;
    }
  }

  #group(): number {
    if (++this.#depth > 100) {
      this.#at = this.#pattern.length;
      return 0;
    }
    const isEmpty = this.#match(/\?(?:<?[=!]|#)/y) !== undefined;
    if (!isEmpty) {
      this.#match(/\?(?:<[A-Za-z_]\w*>|'[A-Za-z_]\w*'|>|~|[a-zA-Z-]*:|[a-zA-Z-]+(?=\)))/y);
    }
    const width = this.alternatives();
    this.#take();
    this.#depth--;
    return isEmpty ? 0 : width;
  }

  /** A character class, with classes inside. */
  #set(): number {
    let open = 1;
    this.#match(/\^?\]?/y);
    while (open > 0 && !this.isAtEnd) {
      const character = this.#take();
      if (character === "\\") {
        this.#take();
      } else if (character === "[") {
        open++;
      } else if (character === "]") {
        open--;
      }
    }
    return 1;
  }

  #escape(): number {
    const long = this.#match(/[pP]\{[^}]*\}|x\{[^}]*\}|x[\da-fA-F]{1,2}|u[\da-fA-F]{4}|[kg]<[^>]*>/y);
    return EMPTY_ESCAPES.test(long?.[0] ?? this.#take()) ? 0 : 1;
  }
}
