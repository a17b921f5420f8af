import type { Value } from "./values.ts";

/**
 * Variables of one block. A name is looked up outwards; an assignment stays in its block: what a loop's body sets is gone with
 * the next item, what `if` sets belongs to the block around it.
 */
export class Scope {
  readonly #parent: Scope | undefined;
  readonly #variables: Map<string, Value>;

  constructor(parent?: Scope, variables: Map<string, Value> = new Map()) {
    this.#parent = parent;
    this.#variables = variables;
  }

  get(name: string): Value | undefined {
    let value = this.#variables.get(name);
    for (let scope = this.#parent; value === undefined && scope !== undefined; scope = scope.#parent) {
      value = scope.#variables.get(name);
    }
    return value;
  }

  set(name: string, value: Value): void {
    this.#variables.set(name, value);
  }
}
