/** Renders statements. */
import { namesRead } from "./checks.ts";
import { JinjaError } from "./errors.ts";
import { ExpressionEvaluator } from "./expression-evaluator.ts";
import type { Budget } from "./limits.ts";
import { LoopContext } from "./loop.ts";
import { Output } from "./output.ts";
import { Scope } from "./scope.ts";
import { isTrue, iteratorOf, iteratorOrUndefined, lengthOrUndefined } from "./sequences.ts";
import type { Block, Signature, Statement, Target } from "./syntax-tree.ts";
import { textOf } from "./text.ts";
import { Callable, Dict, Namespace, Tuple, typeError, typeNameOf, type CallArguments, type Value } from "./values.ts";

/** How a block ended. */
type Outcome = "done" | "break" | "continue";

/** `[start, end)` of what a `{% generation %}` block wrote, in code points of the whole text. */
export type Span = readonly [start: number, end: number];

type ForStatement = Extract<Statement, { kind: "for" }>;

const SPECIAL_ARGUMENTS = ["caller", "kwargs", "varargs"];

export class Renderer {
  readonly spans: Span[] = [];
  readonly #budget: Budget;
  readonly #expressions: ExpressionEvaluator;
  readonly #root: Output;

  constructor(budget: Budget, strictUndefined: boolean, now: () => Date) {
    this.#budget = budget;
    this.#expressions = new ExpressionEvaluator(budget, strictUndefined, now);
    this.#root = new Output(budget);
  }

  render(template: Block, variables: Map<string, Value>): string {
    try {
      this.#block(template, new Scope(undefined, variables), this.#root);
    } catch (error) {
      if (error instanceof JinjaError) {
        error.line ??= this.#expressions.line;
      }
      throw error;
    }
    return this.#root.toString();
  }

  #block(block: Block, scope: Scope, output: Output): Outcome {
    for (const statement of block) {
      const outcome = this.#statement(statement, scope, output);
      if (outcome !== "done") {
        return outcome;
      }
    }
    return "done";
  }

  /** A block's text, apart from the output around it. */
  #captured(block: Block, scope: Scope): { outcome: Outcome; text: string } {
    const output = new Output(this.#budget);
    const outcome = this.#block(block, scope, output);
    return { outcome, text: output.toString() };
  }

  #statement(node: Statement, scope: Scope, output: Output): Outcome {
    this.#budget.step();
    this.#expressions.line = node.line;
    switch (node.kind) {
      case "text":
        output.write(node.text);
        return "done";
      case "print":
        output.write(textOf(this.#expressions.evaluate(node.value, scope), this.#budget));
        return "done";
      case "set":
        this.#assign(node.target, this.#expressions.evaluate(node.value, scope), scope);
        return "done";
      case "macro":
        scope.set(node.name, this.#macro(node.name, node.signature, node.body, scope));
        return "done";
      case "break":
      case "continue":
        return node.kind;
    }
    this.#budget.enter();
    const outcome = this.#compound(node, scope, output);
    this.#budget.leave();
    return outcome;
  }

  #compound(
    node: Exclude<Statement, { kind: "text" | "print" | "set" | "macro" | "break" | "continue" }>,
    scope: Scope,
    output: Output,
  ): Outcome {
    switch (node.kind) {
      case "if": {
        const branch = node.branches.find(([test]) => isTrue(this.#expressions.evaluate(test, scope)));
        return this.#block(branch?.[1] ?? node.otherwise, scope, output);
      }
      case "for":
        return this.#for(node, scope, output);
      case "setBlock": {
        const inner = new Scope(scope);
        const { outcome, text } = this.#captured(node.body, inner);
        if (outcome === "done") {
          this.#assign(
            node.target,
            node.filter === undefined ? text : this.#expressions.filter(node.filter, inner, text),
            scope,
          );
        }
        return outcome;
      }
      case "filterBlock": {
        const inner = new Scope(scope);
        const { outcome, text } = this.#captured(node.body, inner);
        if (outcome === "done") {
          output.write(textOf(this.#expressions.filter(node.filter, inner, text), this.#budget));
        }
        return outcome;
      }
      case "callBlock": {
        const callee = this.#expressions.evaluate(node.callee, scope);
        const call = this.#expressions.callArguments(node.call, scope);
        const caller = this.#macro("caller", node.signature, node.body, scope);
        const keyword = new Map([...call.keyword, ["caller", caller]]);
        output.write(textOf(this.#expressions.call(callee, { positional: call.positional, keyword }), this.#budget));
        return "done";
      }
      case "with": {
        const inner = new Scope(scope);
        const values = node.values.map((value) => this.#expressions.evaluate(value, scope));
        node.targets.forEach((target, index) => this.#assign(target, values[index] ?? null, inner));
        return this.#block(node.body, inner, output);
      }
      case "scope":
        return this.#block(node.body, new Scope(scope), output);
      default: {
        // The reference measures the span where the block ends: from what the template has put out by then, not counting
        // text that is still held back by a macro or another block around it.
        const { text } = this.#captured(node.body, new Scope(scope));
        const start = this.#root.codePoints;
        const held = new Output(this.#budget);
        held.write(text);
        this.spans.push([start, start + held.codePoints]);
        output.write(text);
        return "done";
      }
    }
  }

  #for(node: ForStatement, scope: Scope, output: Output): Outcome {
    const iterable = this.#expressions.evaluate(node.iterable, scope);
    if (!node.recursive) {
      this.#loop(node, iterable, 0, undefined, scope, output);
      return "done";
    }
    const recurse = (items: Value, depth: number): string => {
      this.#budget.enter();
      const inner = new Output(this.#budget);
      this.#loop(node, items, depth, recurse, scope, inner);
      this.#budget.leave();
      return inner.toString();
    };
    output.write(recurse(iterable, 0));
    return "done";
  }

  #loop(
    node: ForStatement,
    iterable: Value,
    depth: number,
    recurse: ((items: Value, depth: number) => string) | undefined,
    scope: Scope,
    output: Output,
  ): void {
    const all = iteratorOf(iterable);
    const items = node.test === undefined ? all : this.#filtered(node, all, scope);
    const loop = new LoopContext(
      items,
      node.test === undefined ? lengthOrUndefined(iterable) : undefined,
      depth,
      recurse,
      this.#expressions,
    );
    let completed = false;
    for (let next = loop.advance(); next !== undefined; next = loop.advance()) {
      this.#budget.step();
      const inner = new Scope(scope);
      inner.set("loop", loop);
      this.#assign(node.target, next.item, inner);
      const outcome = this.#block(node.body, inner, output);
      if (outcome === "done") {
        completed = true;
      } else if (outcome === "break") {
        break;
      }
    }
    // As in the reference, an iteration that a loop control ends does not count: only a completed one keeps the else block out.
    if (!completed) {
      this.#block(node.otherwise, new Scope(scope), output);
    }
  }

  *#filtered(node: ForStatement, items: Iterator<Value>, scope: Scope): Generator<Value, undefined> {
    for (let next = items.next(); next.done !== true; next = items.next()) {
      this.#budget.step();
      const inner = new Scope(scope);
      this.#assign(node.target, next.value, inner);
      if (node.test === undefined || isTrue(this.#expressions.evaluate(node.test, inner))) {
        yield next.value;
      }
    }
  }

  #assign(target: Target, value: Value, scope: Scope): void {
    if (target.kind === "variable") {
      scope.set(target.name, value);
    } else if (target.kind === "namespace") {
      const namespace = scope.get(target.name);
      if (!(namespace instanceof Namespace)) {
        throw new JinjaError("TemplateRuntimeError", "cannot assign attribute on non-namespace object");
      }
      namespace.set(target.attribute, value);
    } else {
      const items = this.#unpacked(value, target.items.length);
      target.items.forEach((item, index) => this.#assign(item, items[index] ?? null, scope));
    }
  }

  #unpacked(value: Value, wanted: number): Value[] {
    const iterator = iteratorOrUndefined(value);
    if (iterator === undefined) {
      throw typeError(`cannot unpack non-iterable ${typeNameOf(value)} object`);
    }
    const items: Value[] = [];
    for (let next = iterator.next(); next.done !== true; next = iterator.next()) {
      if (items.length === wanted) {
        throw new JinjaError("ValueError", `too many values to unpack (expected ${wanted})`);
      }
      items.push(next.value);
    }
    if (items.length < wanted) {
      throw new JinjaError("ValueError", `not enough values to unpack (expected ${wanted}, got ${items.length})`);
    }
    return items;
  }

  #macro(name: string, signature: Signature, body: Block, scope: Scope): Callable {
    const special = namesRead(
      body,
      SPECIAL_ARGUMENTS.filter((argument) => !signature.names.includes(argument)),
    );
    const call = (given: CallArguments): Value => {
      this.#budget.enter();
      const line = this.#expressions.line;
      const inner = new Scope(scope);
      this.#bindMacro(name, signature, special, given, inner);
      const { text } = this.#captured(body, inner);
      this.#expressions.line = line;
      this.#budget.leave();
      return text;
    };
    const attributes = new Map<string, Value>([
      ["name", name],
      ["arguments", new Tuple(signature.names)],
      ["caller", special.has("caller")],
      ["catch_kwargs", special.has("kwargs")],
      ["catch_varargs", special.has("varargs")],
    ]);
    return new Callable(name, call, "Macro", attributes);
  }

  #bindMacro(
    name: string,
    signature: Signature,
    special: ReadonlySet<string>,
    given: CallArguments,
    scope: Scope,
  ): void {
    const { names, defaults } = signature;
    const keyword = new Map(given.keyword);
    names.forEach((parameter, index) => {
      let value = given.positional[index];
      if (value === undefined) {
        value = keyword.get(parameter);
        keyword.delete(parameter);
      }
      if (value === undefined) {
        const preset = defaults[index - names.length + defaults.length];
        value =
          preset === undefined
            ? this.#expressions.undefined(`parameter '${parameter}' was not provided`)
            : this.#expressions.evaluate(preset, scope);
      }
      scope.set(parameter, value);
    });
    if (special.has("caller")) {
      scope.set("caller", keyword.get("caller") ?? this.#expressions.undefined("No caller defined"));
      keyword.delete("caller");
    }
    if (special.has("kwargs")) {
      const rest = new Dict();
      keyword.forEach((value, key) => rest.set(key, value));
      scope.set("kwargs", rest);
    } else {
      for (const unknown of keyword.keys()) {
        throw typeError(
          unknown === "caller"
            ? `macro '${name}' was invoked with two values for the special caller argument. This is most likely a bug.`
            : `macro '${name}' takes no keyword argument '${unknown}'`,
        );
      }
    }
    if (special.has("varargs")) {
      scope.set("varargs", new Tuple(given.positional.slice(names.length)));
    } else if (given.positional.length > names.length) {
      throw typeError(`macro '${name}' takes not more than ${names.length} argument(s)`);
    }
  }
}
