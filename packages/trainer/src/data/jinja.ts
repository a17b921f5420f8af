import * as library from "@huggingface/jinja";

/** A node of a parsed template. */
export interface JinjaNode {
  readonly type: string;
}

/** A value while a template runs. */
export interface JinjaValue {
  readonly type: string;
  readonly value: unknown;
}

/** Names and their values. */
export interface JinjaEnvironment {
  readonly variables: Map<string, JinjaValue>;
  set(name: string, value: unknown): void;
}

/** Runs a parsed template. */
export interface JinjaInterpreter {
  run(program: JinjaNode): JinjaValue;
  evaluate(node: JinjaNode | undefined, environment: JinjaEnvironment): JinjaValue;
}

interface Jinja {
  readonly Environment: new (parent?: JinjaEnvironment) => JinjaEnvironment;
  readonly Interpreter: new (environment: JinjaEnvironment) => JinjaInterpreter;
  tokenize(source: string): readonly object[];
  parse(tokens: readonly object[]): JinjaNode;
}

/** `@huggingface/jinja`, typed here: its own declarations import without endings, which Node's resolution does not follow. */
export const jinja: Jinja = library;
