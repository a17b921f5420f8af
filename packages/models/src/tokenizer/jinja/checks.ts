/**
 * What is rejected before anything is rendered: unknown filters and tests and loop controls outside of loops, as by Jinja2's
 * compiler, and trees so deep that walking them would exhaust the stack.
 */
import { JinjaError } from "./errors.ts";
import type { Block, CallNode, Expression, SliceNode, Statement } from "./syntax-tree.ts";

export interface KnownNames {
  readonly filters: { has(name: string): boolean };
  readonly tests: { has(name: string): boolean };
}

interface Place {
  /** Inside `if`: an unknown filter or test is an error only when it is reached. */
  readonly soft: boolean;
  readonly inLoop: boolean;
}

export function checkTemplate(body: Block, known: KnownNames, deepest: number): void {
  new Checker(known, deepest).block(body, { soft: false, inLoop: false });
}

class Checker {
  readonly #known: KnownNames;
  readonly #deepest: number;
  #depth = 0;

  constructor(known: KnownNames, deepest: number) {
    this.#known = known;
    this.#deepest = deepest;
  }

  #nested(line: number | undefined, walk: () => void): void {
    if (++this.#depth > this.#deepest) {
      throw new JinjaError("LimitError", `the template nests deeper than ${this.#deepest} levels`, line);
    }
    walk();
    this.#depth--;
  }

  block(body: Block, place: Place): void {
    for (const statement of body) {
      this.#nested(statement.line, () => this.#statement(statement, place));
    }
  }

  #statement(node: Statement, place: Place): void {
    const inner: Place = { soft: false, inLoop: place.inLoop };
    const separate: Place = { soft: false, inLoop: false }; // compiled as a function of its own
    switch (node.kind) {
      case "text":
        return;
      case "print":
        return this.#expression(node.value, place);
      case "if": {
        const soft: Place = { soft: true, inLoop: place.inLoop };
        for (const [test, body] of node.branches) {
          this.#expression(test, soft);
          this.block(body, soft);
        }
        return this.block(node.otherwise, soft);
      }
      case "for":
        this.#expression(node.iterable, place);
        this.#optional(node.test, inner);
        this.block(node.body, { soft: false, inLoop: true });
        return this.block(node.otherwise, inner);
      case "set":
        return this.#expression(node.value, place);
      case "setBlock":
        this.#optional(node.filter, inner);
        return this.block(node.body, inner);
      case "macro":
        node.signature.defaults.forEach((value) => this.#expression(value, separate));
        return this.block(node.body, separate);
      case "callBlock":
        this.#expression(node.callee, place);
        this.#call(node.call, place);
        node.signature.defaults.forEach((value) => this.#expression(value, separate));
        return this.block(node.body, separate);
      case "filterBlock":
        this.#expression(node.filter, inner);
        return this.block(node.body, inner);
      case "with":
        node.values.forEach((value) => this.#expression(value, place));
        return this.block(node.body, inner);
      case "generation":
      case "scope":
        return this.block(node.body, separate);
      case "break":
      case "continue":
        if (!place.inLoop) {
          const reason = node.kind === "break" ? "'break' outside loop" : "'continue' not properly in loop";
          throw new JinjaError("SyntaxError", reason, node.line);
        }
    }
  }

  #optional(node: Expression | undefined, place: Place): void {
    if (node !== undefined) {
      this.#expression(node, place);
    }
  }

  #call(call: CallNode, place: Place): void {
    call.positional.forEach((value) => this.#expression(value, place));
    call.keyword.forEach(([, value]) => this.#expression(value, place));
    this.#optional(call.spread, place);
    this.#optional(call.keywordSpread, place);
  }

  #index(node: Expression | SliceNode, place: Place): void {
    if (node.kind === "slice") {
      this.#optional(node.start, place);
      this.#optional(node.stop, place);
      this.#optional(node.step, place);
    } else {
      this.#expression(node, place);
    }
  }

  #expression(node: Expression, place: Place): void {
    this.#nested(undefined, () => this.#parts(node, place));
  }

  #parts(node: Expression, place: Place): void {
    switch (node.kind) {
      case "constant":
      case "name":
        return;
      case "list":
      case "tuple":
        return node.items.forEach((item) => this.#expression(item, place));
      case "dict":
        return node.pairs.forEach((pair) => pair.forEach((item) => this.#expression(item, place)));
      case "attribute":
        return this.#expression(node.object, place);
      case "item":
        this.#expression(node.object, place);
        return this.#index(node.index, place);
      case "call":
        this.#expression(node.callee, place);
        return this.#call(node.call, place);
      case "filter":
        this.#name("filter", node.name, this.#known.filters, place, node.line);
        this.#optional(node.operand, place);
        return this.#call(node.call, place);
      case "test":
        this.#name("test", node.name, this.#known.tests, place, node.line);
        this.#expression(node.operand, place);
        return this.#call(node.call, place);
      case "not":
      case "sign":
        return this.#expression(node.operand, place);
      case "and":
      case "or":
      case "concatenation":
        return node.operands.forEach((operand) => this.#expression(operand, place));
      case "compare":
      case "arithmetic":
        this.#expression(node.first, place);
        return node.rest.forEach(([, operand]) => this.#expression(operand, place));
      case "conditional": {
        const soft: Place = { ...place, soft: true };
        this.#expression(node.condition, soft);
        this.#expression(node.value, soft);
        this.#optional(node.otherwise, soft);
      }
    }
  }

  #name(what: string, name: string, known: { has(name: string): boolean }, place: Place, line: number): void {
    if (!place.soft && !known.has(name)) {
      throw new JinjaError("TemplateAssertionError", `No ${what} named '${name}'.`, line);
    }
  }
}

/** Names that a body reads anywhere, of those asked for: tells whether a macro takes `caller`, `kwargs` or `varargs`. */
export function namesRead(body: Block, names: readonly string[]): ReadonlySet<string> {
  const found = new Set<string>();
  const visit = (node: unknown): void => {
    if (Array.isArray(node)) {
      node.forEach(visit);
    } else if (typeof node === "object" && node !== null) {
      if (
        "kind" in node &&
        node.kind === "name" &&
        "name" in node &&
        typeof node.name === "string" &&
        names.includes(node.name)
      ) {
        found.add(node.name);
      }
      Object.values(node).forEach(visit);
    }
  };
  visit(body);
  return found;
}
