/** Expressions of the template language, by Jinja2's precedence (lowest first): if-else, or, and, not, comparison, + -, ~, * / // %, **, sign. */
import type {
  ArithmeticOperator,
  CallNode,
  ComparisonOperator,
  Expression,
  FilterNode,
  SliceNode,
  Target,
} from "./syntax-tree.ts";
import { describe, type TokenStream } from "./token-stream.ts";

/** Nesting of brackets, signs, `not` and `else`; real templates stay below twenty. */
const DEEPEST = 100;

const CONSTANTS: ReadonlyMap<string, boolean | null> = new Map([
  ["true", true],
  ["True", true],
  ["false", false],
  ["False", false],
  ["none", null],
  ["None", null],
]);

const NO_ARGUMENTS: CallNode = { positional: [], keyword: [], spread: undefined, keywordSpread: undefined };

export class ExpressionParser {
  readonly #stream: TokenStream;
  #depth = 0;

  constructor(stream: TokenStream) {
    this.#stream = stream;
  }

  #nested<T>(parse: () => T): T {
    if (++this.#depth > DEEPEST) {
      this.#stream.fail(`the expression nests deeper than ${DEEPEST} levels`);
    }
    const result = parse();
    this.#depth--;
    return result;
  }

  /** An expression; `withConditional` is false where `if` belongs to the statement around it. */
  expression(withConditional = true): Expression {
    return this.#nested(() => (withConditional ? this.#conditional() : this.#or()));
  }

  /** One expression, or a tuple of several with commas between. `end` names a word that ends the tuple. */
  tuple(options: { withConditional?: boolean; parenthesized?: boolean; end?: string } = {}): Expression {
    const items: Expression[] = [];
    let isTuple = false;
    while (!this.#tupleEnds(options.end)) {
      items.push(this.expression(options.withConditional));
      if (!this.#stream.skip("operator", ",")) {
        break;
      }
      isTuple = true;
    }
    const [only] = items;
    if (!isTuple && only !== undefined) {
      return only;
    }
    if (!isTuple && options.parenthesized !== true) {
      this.#stream.fail(`Expected an expression, got '${describe(this.#stream.current)}'`);
    }
    return { kind: "tuple", items };
  }

  #tupleEnds(end: string | undefined): boolean {
    const stream = this.#stream;
    return (
      stream.is("variableEnd") ||
      stream.is("blockEnd") ||
      stream.is("operator", ")") ||
      (end !== undefined && stream.isName(end))
    );
  }

  /** What stands left of `=` or `in`. */
  target(end?: string, withNamespace = false): Target {
    const line = this.#stream.current.line;
    const items: Target[] = [];
    let isTuple = false;
    while (!this.#tupleEnds(end)) {
      items.push(this.#singleTarget(withNamespace));
      if (!this.#stream.skip("operator", ",")) {
        break;
      }
      isTuple = true;
    }
    const [only] = items;
    if (only === undefined && !isTuple) {
      this.#stream.fail(`Expected an expression, got '${describe(this.#stream.current)}'`, line);
    }
    return only !== undefined && !isTuple ? only : { kind: "tuple", items };
  }

  #singleTarget(withNamespace: boolean): Target {
    const stream = this.#stream;
    if (stream.skip("operator", "(")) {
      const inner = this.#nested(() => this.target(undefined, withNamespace));
      stream.expect("operator", ")");
      return inner;
    }
    if (!stream.is("name")) {
      stream.fail(
        stream.is("string") || stream.is("integer") || stream.is("float")
          ? "can't assign to 'const'"
          : `unexpected '${describe(stream.current)}'`,
      );
    }
    const name = stream.take().value;
    if (CONSTANTS.has(name)) {
      stream.fail("can't assign to 'const'");
    }
    if (withNamespace && stream.skip("operator", ".")) {
      return { kind: "namespace", name, attribute: stream.expect("name").value };
    }
    return { kind: "variable", name };
  }

  #conditional(): Expression {
    let line = this.#stream.current.line;
    let value = this.#or();
    while (this.#stream.skip("name", "if")) {
      const condition = this.#or();
      const otherwise = this.#stream.skip("name", "else") ? this.#nested(() => this.#conditional()) : undefined;
      value = { kind: "conditional", condition, value, otherwise, line };
      line = this.#stream.current.line;
    }
    return value;
  }

  #or(): Expression {
    return this.#chain("or", () => this.#chain("and", () => this.#not()));
  }

  #chain(word: "and" | "or", operand: () => Expression): Expression {
    const first = operand();
    if (!this.#stream.isName(word)) {
      return first;
    }
    const operands = [first];
    while (this.#stream.skip("name", word)) {
      operands.push(operand());
    }
    return { kind: word, operands };
  }

  #not(): Expression {
    if (this.#stream.skip("name", "not")) {
      return { kind: "not", operand: this.#nested(() => this.#not()) };
    }
    return this.#comparison();
  }

  #comparison(): Expression {
    const first = this.#additive();
    const rest: [ComparisonOperator, Expression][] = [];
    for (let operator = this.#comparisonOperator(); operator !== undefined; operator = this.#comparisonOperator()) {
      rest.push([operator, this.#additive()]);
    }
    return rest.length === 0 ? first : { kind: "compare", first, rest };
  }

  #comparisonOperator(): ComparisonOperator | undefined {
    const stream = this.#stream;
    const { type, value } = stream.current;
    if (type === "operator" && isComparison(value)) {
      stream.take();
      return value;
    }
    if (stream.skip("name", "in")) {
      return "in";
    }
    if (stream.isName("not") && stream.next.type === "name" && stream.next.value === "in") {
      stream.take();
      stream.take();
      return "not in";
    }
    return undefined;
  }

  #arithmetic(operators: readonly ArithmeticOperator[], operand: () => Expression): Expression {
    const first = operand();
    const rest: [ArithmeticOperator, Expression][] = [];
    while (true) {
      const { type, value } = this.#stream.current;
      const operator = type === "operator" ? operators.find((candidate) => candidate === value) : undefined;
      if (operator === undefined) {
        return rest.length === 0 ? first : { kind: "arithmetic", first, rest };
      }
      this.#stream.take();
      rest.push([operator, operand()]);
    }
  }

  #additive(): Expression {
    return this.#arithmetic(["+", "-"], () => this.#concatenation());
  }

  #concatenation(): Expression {
    const first = this.#multiplicative();
    if (!this.#stream.is("operator", "~")) {
      return first;
    }
    const operands = [first];
    while (this.#stream.skip("operator", "~")) {
      operands.push(this.#multiplicative());
    }
    return { kind: "concatenation", operands };
  }

  #multiplicative(): Expression {
    return this.#arithmetic(["*", "/", "//", "%"], () => this.#arithmetic(["**"], () => this.#signed(true)));
  }

  /** A sign binds its operand before filters: `-1 | abs` is `(-1) | abs`. */
  #signed(withFilters: boolean): Expression {
    const stream = this.#stream;
    let node: Expression;
    if (stream.is("operator", "-") || stream.is("operator", "+")) {
      const sign = stream.take().value === "-" ? "-" : "+";
      node = { kind: "sign", sign, operand: this.#nested(() => this.#signed(false)) };
    } else {
      node = this.#primary();
    }
    node = this.#postfix(node);
    return withFilters ? this.#filtered(node) : node;
  }

  #primary(): Expression {
    const stream = this.#stream;
    const { type, value } = stream.current;
    switch (type) {
      case "name": {
        stream.take();
        const constant = CONSTANTS.get(value);
        return constant === undefined ? { kind: "name", name: value } : { kind: "constant", value: constant };
      }
      case "string": {
        let text = "";
        while (stream.is("string")) {
          text += stream.take().value;
        }
        return { kind: "constant", value: text };
      }
      case "integer":
        stream.take();
        return { kind: "constant", value: BigInt(/^0+$/.test(value) ? "0" : value.toLowerCase()) };
      case "float":
        stream.take();
        return { kind: "constant", value: Number(value) };
      case "operator":
        return this.#bracketed(value);
      default:
        return stream.fail(`unexpected '${describe(stream.current)}'`);
    }
  }

  #bracketed(opening: string): Expression {
    const stream = this.#stream;
    if (opening === "(") {
      stream.take();
      const node = this.tuple({ parenthesized: true });
      stream.expect("operator", ")");
      return node;
    }
    if (opening === "[") {
      stream.take();
      const items = this.#commaSeparated("]", () => this.expression());
      return { kind: "list", items };
    }
    if (opening === "{") {
      stream.take();
      const pairs = this.#commaSeparated("}", (): readonly [Expression, Expression] => {
        const key = this.expression();
        stream.expect("operator", ":");
        return [key, this.expression()];
      });
      return { kind: "dict", pairs };
    }
    return stream.fail(`unexpected '${describe(stream.current)}'`);
  }

  /** Items up to the closing bracket, which is taken; a comma may follow the last one. */
  #commaSeparated<T>(closing: string, parse: () => T): T[] {
    const items: T[] = [];
    while (!this.#stream.is("operator", closing)) {
      if (items.length > 0) {
        this.#stream.expect("operator", ",");
        if (this.#stream.is("operator", closing)) {
          break;
        }
      }
      items.push(parse());
    }
    this.#stream.expect("operator", closing);
    return items;
  }

  #postfix(operand: Expression): Expression {
    const stream = this.#stream;
    let node = operand;
    while (true) {
      if (stream.is("operator", ".")) {
        stream.take();
        const token = stream.take();
        if (token.type === "name") {
          node = { kind: "attribute", object: node, name: token.value };
        } else if (token.type === "integer") {
          node = { kind: "item", object: node, index: { kind: "constant", value: BigInt(token.value) } };
        } else {
          stream.fail("expected name or number", token.line);
        }
      } else if (stream.is("operator", "[")) {
        node = { kind: "item", object: node, index: this.#subscript() };
      } else if (stream.is("operator", "(")) {
        node = { kind: "call", callee: node, call: this.arguments() };
      } else {
        return node;
      }
    }
  }

  #subscript(): Expression | SliceNode {
    const stream = this.#stream;
    stream.expect("operator", "[");
    const parts: (Expression | SliceNode)[] = [];
    while (!stream.is("operator", "]")) {
      if (parts.length > 0) {
        stream.expect("operator", ",");
      }
      parts.push(this.#indexOrSlice());
    }
    stream.expect("operator", "]");
    const [only] = parts;
    if (parts.length === 1 && only !== undefined) {
      return only;
    }
    const items = parts.filter((part) => part.kind !== "slice");
    if (items.length < parts.length) {
      stream.fail("slices of several dimensions are not supported");
    }
    return { kind: "tuple", items };
  }

  #indexOrSlice(): Expression | SliceNode {
    const stream = this.#stream;
    const bound = (): Expression | undefined =>
      stream.is("operator", ":") || stream.is("operator", "]") || stream.is("operator", ",")
        ? undefined
        : this.expression();
    const start = bound();
    if (!stream.skip("operator", ":")) {
      return start ?? stream.fail(`unexpected '${describe(stream.current)}'`);
    }
    const stop = bound();
    const step = stream.skip("operator", ":") ? bound() : undefined;
    return { kind: "slice", start, stop, step };
  }

  /** `(a, b, *more, key=value, **rest)`. */
  arguments(): CallNode {
    const stream = this.#stream;
    const line = stream.expect("operator", "(").line;
    const positional: Expression[] = [];
    const keyword: [string, Expression][] = [];
    let spread: Expression | undefined;
    let keywordSpread: Expression | undefined;
    const ensure = (holds: boolean): void => {
      if (!holds) {
        stream.fail("invalid syntax for function call expression", line);
      }
    };
    let first = true;
    while (!stream.is("operator", ")")) {
      if (!first) {
        stream.expect("operator", ",");
        if (stream.is("operator", ")")) {
          break;
        }
      }
      first = false;
      if (stream.skip("operator", "*")) {
        ensure(spread === undefined && keywordSpread === undefined);
        spread = this.expression();
      } else if (stream.skip("operator", "**")) {
        ensure(keywordSpread === undefined);
        keywordSpread = this.expression();
      } else if (stream.is("name") && stream.next.type === "operator" && stream.next.value === "=") {
        ensure(keywordSpread === undefined);
        const name = stream.take().value;
        stream.take();
        keyword.push([name, this.expression()]);
      } else {
        ensure(spread === undefined && keywordSpread === undefined && keyword.length === 0);
        positional.push(this.expression());
      }
    }
    stream.expect("operator", ")");
    return { positional, keyword, spread, keywordSpread };
  }

  #filtered(operand: Expression): Expression {
    const stream = this.#stream;
    let node = operand;
    while (true) {
      if (stream.is("operator", "|")) {
        node = this.filters(node) ?? node;
      } else if (stream.isName("is")) {
        node = this.#test(node);
      } else if (stream.is("operator", "(")) {
        node = { kind: "call", callee: node, call: this.arguments() };
      } else {
        return node;
      }
    }
  }

  /** `| name(arguments) | …` after an operand; with `inline` the first filter comes without its bar. */
  filters(operand: Expression | undefined, inline = false): FilterNode | undefined {
    const stream = this.#stream;
    let node: FilterNode | undefined;
    let bar = !inline;
    while (!bar || stream.is("operator", "|")) {
      if (bar) {
        stream.take();
      }
      bar = true;
      const line = stream.current.line;
      const name = this.#dottedName();
      const call = stream.is("operator", "(") ? this.arguments() : NO_ARGUMENTS;
      node = { kind: "filter", operand: node ?? operand, name, call, line };
    }
    return node;
  }

  #dottedName(): string {
    let name = this.#stream.expect("name").value;
    while (this.#stream.skip("operator", ".")) {
      name += `.${this.#stream.expect("name").value}`;
    }
    return name;
  }

  /** `is [not] name`, with arguments in brackets or one right behind: `is divisibleby 3`. */
  #test(operand: Expression): Expression {
    const stream = this.#stream;
    const line = stream.take().line;
    const negated = stream.skip("name", "not");
    const name = this.#dottedName();
    let call = NO_ARGUMENTS;
    if (stream.is("operator", "(")) {
      call = this.arguments();
    } else if (this.#startsOperand() && !stream.isName("else", "or", "and")) {
      if (stream.isName("is")) {
        stream.fail("You cannot chain multiple tests with is");
      }
      call = { ...NO_ARGUMENTS, positional: [this.#postfix(this.#primary())] };
    }
    const test: Expression = { kind: "test", operand, name, call, line };
    return negated ? { kind: "not", operand: test } : test;
  }

  #startsOperand(): boolean {
    const { type, value } = this.#stream.current;
    return (
      type === "name" ||
      type === "string" ||
      type === "integer" ||
      type === "float" ||
      (type === "operator" && "[{".includes(value))
    );
  }
}

const COMPARISONS: ReadonlySet<string> = new Set(["==", "!=", "<", "<=", ">", ">="]);

function isComparison(operator: string): operator is ComparisonOperator {
  return COMPARISONS.has(operator);
}
