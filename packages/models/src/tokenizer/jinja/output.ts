import type { Budget } from "./limits.ts";
import { codePointLength } from "./strings.ts";

/** Text as it is written, piece by piece. */
export class Output {
  readonly #budget: Budget;
  readonly #parts: string[] = [];
  #length = 0;
  #counted = 0;
  #codePoints = 0;

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  write(text: string): void {
    if (text !== "") {
      this.#length += text.length;
      this.#budget.text(this.#length > this.#budget.limits.textLength ? this.#length : text.length);
      this.#parts.push(text);
    }
  }

  /** Code points written so far. */
  get codePoints(): number {
    for (; this.#counted < this.#parts.length; this.#counted++) {
      this.#codePoints += codePointLength(this.#parts[this.#counted] ?? "");
    }
    return this.#codePoints;
  }

  toString(): string {
    return this.#parts.join("");
  }
}
