/** Evaluates expressions. */
import { getAttribute, getItem } from "./access.ts";
import { JinjaError } from "./errors.ts";
import { GLOBALS } from "./globals.ts";
import { LoopContext } from "./loop.ts";
import { arithmetic, contains, isEqual, isOrdered, negate } from "./operators.ts";
import type { Scope } from "./scope.ts";
import { SEQUENCE_FILTERS } from "./sequence-filters.ts";
import { each, isTrue, sliceOf } from "./sequences.ts";
import type { CallNode, ComparisonOperator, Expression, FilterNode, SliceNode } from "./syntax-tree.ts";
import { TESTS } from "./tests.ts";
import { textOf } from "./text.ts";
import { TEXT_FILTERS } from "./text-filters.ts";
import {
  Callable,
  Dict,
  Tuple,
  typeError,
  typeNameOf,
  Undefined,
  type CallArguments,
  type Runtime,
  type Value,
} from "./values.ts";
import type { Budget } from "./limits.ts";
import type { Filter } from "./filter-arguments.ts";

export const FILTERS: ReadonlyMap<string, Filter> = new Map([...TEXT_FILTERS, ...SEQUENCE_FILTERS]);

export class ExpressionEvaluator implements Runtime {
  readonly budget: Budget;
  readonly strictUndefined: boolean;
  readonly now: () => Date;
  /** Line of the statement that is being rendered, for messages. */
  line: number | undefined;

  constructor(budget: Budget, strictUndefined: boolean, now: () => Date) {
    this.budget = budget;
    this.strictUndefined = strictUndefined;
    this.now = now;
  }

  undefined(message: string): Undefined {
    return new Undefined(message, this.strictUndefined);
  }

  evaluate(node: Expression, scope: Scope): Value {
    this.budget.step();
    switch (node.kind) {
      case "constant":
        return node.value;
      case "name":
        return this.#variable(node.name, scope);
      case "attribute":
        return getAttribute(this.#inner(node.object, scope), node.name, this);
    }
    this.budget.enter();
    const value = this.#compound(node, scope);
    this.budget.leave();
    return value;
  }

  #variable(name: string, scope: Scope): Value {
    let value = scope.get(name);
    if (value === undefined) {
      value = GLOBALS.get(name);
    }
    return value === undefined ? this.undefined(`'${name}' is undefined`) : value;
  }

  /** An operand: one level deeper, so that a long chain of postfixes counts as nesting. */
  #inner(node: Expression, scope: Scope): Value {
    this.budget.enter();
    const value = this.evaluate(node, scope);
    this.budget.leave();
    return value;
  }

  #compound(node: Exclude<Expression, { kind: "constant" | "name" | "attribute" }>, scope: Scope): Value {
    switch (node.kind) {
      case "list":
        return node.items.map((item) => this.evaluate(item, scope));
      case "tuple":
        return new Tuple(node.items.map((item) => this.evaluate(item, scope)));
      case "dict":
        return this.#dict(node.pairs, scope);
      case "item":
        return this.#item(this.evaluate(node.object, scope), node.index, scope);
      case "call":
        return this.call(this.evaluate(node.callee, scope), this.callArguments(node.call, scope));
      case "filter":
        return this.filter(node, scope, "");
      case "test":
        return this.#test(
          node.name,
          this.evaluate(node.operand, scope),
          this.callArguments(node.call, scope),
          node.line,
        );
      case "not":
        return !isTrue(this.evaluate(node.operand, scope));
      case "sign":
        return negate(this.evaluate(node.operand, scope), node.sign);
      case "and":
      case "or":
        return this.#logical(node.operands, node.kind === "or", scope);
      case "compare":
        return this.#compare(this.evaluate(node.first, scope), node.rest, scope);
      case "arithmetic":
        return node.rest.reduce(
          (left, [operator, right]) => arithmetic(operator, left, this.evaluate(right, scope), this),
          this.evaluate(node.first, scope),
        );
      case "concatenation": {
        const texts = node.operands
          .map((operand) => this.evaluate(operand, scope))
          .map((value) => textOf(value, this.budget));
        this.budget.text(texts.reduce((length, text) => length + text.length, 0));
        return texts.join("");
      }
      default:
        if (isTrue(this.evaluate(node.condition, scope))) {
          return this.evaluate(node.value, scope);
        }
        return node.otherwise === undefined
          ? this.undefined(
              `the inline if-expression on line ${node.line} evaluated to false and no else section was defined.`,
            )
          : this.evaluate(node.otherwise, scope);
    }
  }

  #dict(pairs: readonly (readonly [Expression, Expression])[], scope: Scope): Dict {
    const dict = new Dict();
    for (const [key, value] of pairs) {
      dict.set(this.evaluate(key, scope), this.evaluate(value, scope));
    }
    return dict;
  }

  #item(object: Value, index: Expression | SliceNode, scope: Scope): Value {
    if (index.kind !== "slice") {
      return getItem(object, this.evaluate(index, scope), this);
    }
    const bound = (node: Expression | undefined): Value => (node === undefined ? null : this.evaluate(node, scope));
    return sliceOf(object, bound(index.start), bound(index.stop), bound(index.step), this);
  }

  #logical(operands: readonly Expression[], stopsAt: boolean, scope: Scope): Value {
    let value: Value = null;
    for (const operand of operands) {
      value = this.evaluate(operand, scope);
      if (isTrue(value) === stopsAt) {
        break;
      }
    }
    return value;
  }

  /** `a < b < c` holds if both do; each operand is evaluated once. */
  #compare(first: Value, rest: readonly (readonly [ComparisonOperator, Expression])[], scope: Scope): boolean {
    let left = first;
    for (const [operator, node] of rest) {
      const right = this.evaluate(node, scope);
      if (!this.#holds(operator, left, right)) {
        return false;
      }
      left = right;
    }
    return true;
  }

  #holds(operator: ComparisonOperator, left: Value, right: Value): boolean {
    switch (operator) {
      case "==":
        return isEqual(left, right, this);
      case "!=":
        return !isEqual(left, right, this);
      case "in":
        return contains(right, left, this);
      case "not in":
        return !contains(right, left, this);
      default:
        return isOrdered(operator, left, right, this);
    }
  }

  callArguments(node: CallNode, scope: Scope): CallArguments {
    const positional = node.positional.map((value) => this.evaluate(value, scope));
    const keyword = new Map(node.keyword.map(([name, value]) => [name, this.evaluate(value, scope)]));
    if (node.spread !== undefined) {
      positional.push(...each(this.evaluate(node.spread, scope), this));
    }
    if (node.keywordSpread !== undefined) {
      const mapping = this.evaluate(node.keywordSpread, scope);
      if (!(mapping instanceof Dict)) {
        throw typeError(`argument after ** must be a mapping, not ${typeNameOf(mapping)}`);
      }
      for (const [name, value] of mapping.entries()) {
        if (typeof name !== "string") {
          throw typeError("keywords must be strings");
        }
        if (keyword.has(name)) {
          throw typeError(`got multiple values for keyword argument '${name}'`);
        }
        keyword.set(name, value);
      }
    }
    return { positional, keyword };
  }

  call(callee: Value, call: CallArguments): Value {
    if (callee instanceof Callable) {
      return this.#charged(callee.call(call, this));
    }
    if (callee instanceof LoopContext) {
      return callee.recurse(call.positional[0]);
    }
    if (callee instanceof Undefined) {
      callee.fail();
    }
    throw typeError(`'${typeNameOf(callee)}' object is not callable`);
  }

  /** A chain of filters; one without an operand starts from the text of its block. */
  filter(node: FilterNode, scope: Scope, blockText: string): Value {
    const operand =
      node.operand === undefined
        ? blockText
        : node.operand.kind === "filter"
          ? this.filter(node.operand, scope, blockText)
          : this.evaluate(node.operand, scope);
    const filter = FILTERS.get(node.name);
    if (filter === undefined) {
      throw new JinjaError("TemplateRuntimeError", `No filter named '${node.name}' found.`, node.line);
    }
    return this.#charged(filter(this.#charged(operand), this.callArguments(node.call, scope), this));
  }

  /** Counts the text that goes into a filter and comes out of a call, which takes time by its length. */
  #charged(value: Value): Value {
    if (typeof value === "string") {
      this.budget.text(value.length);
    }
    return value;
  }

  #test(name: string, value: Value, call: CallArguments, line: number): boolean {
    const test = TESTS.get(name);
    if (test !== undefined) {
      return test(value, call, this);
    }
    if (name === "filter" || name === "test") {
      return typeof value === "string" && (name === "filter" ? FILTERS.has(value) : isTest(value));
    }
    throw new JinjaError("TemplateRuntimeError", `No test named '${name}' found.`, line);
  }

  /** A filter by name, as `map` calls it. */
  callFilter(name: string, value: Value, call: CallArguments): Value {
    const filter = FILTERS.get(name);
    if (filter === undefined) {
      throw new JinjaError("TemplateRuntimeError", `No filter named '${name}'.`);
    }
    return this.#charged(filter(this.#charged(value), call, this));
  }

  /** A test by name, as `select` calls it. */
  callTest(name: string, value: Value, call: CallArguments): boolean {
    if (!isTest(name)) {
      throw new JinjaError("TemplateRuntimeError", `No test named '${name}'.`);
    }
    return this.#test(name, value, call, this.line ?? 0);
  }
}

export function isTest(name: string): boolean {
  return TESTS.has(name) || name === "filter" || name === "test";
}
