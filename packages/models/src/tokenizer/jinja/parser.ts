/** Statements of the template language, with the two loop controls and `{% generation %}` of the Transformers environment. */
import { JinjaError } from "./errors.ts";
import { ExpressionParser } from "./expression-parser.ts";
import { tokenize, type LexerOptions } from "./lexer.ts";
import type { Block, Expression, Signature, Statement } from "./syntax-tree.ts";
import { TokenStream } from "./token-stream.ts";

/** Nesting of blocks; Python compiles no more than twenty nested loops. */
const DEEPEST = 100;

/** Statements that need what a single template from a checkpoint does not have. */
const UNSUPPORTED: ReadonlyMap<string, string> = new Map([
  ["extends", "a template loader"],
  ["include", "a template loader"],
  ["import", "a template loader"],
  ["from", "a template loader"],
  ["autoescape", "HTML escaping"],
]);

export function parseTemplate(source: string, options: LexerOptions): Block {
  return new StatementParser(new TokenStream(tokenize(source, options))).template();
}

class StatementParser {
  readonly #stream: TokenStream;
  readonly #expressions: ExpressionParser;
  /** Open tags, innermost last, and for each open body the words that end it: both for messages. */
  readonly #tags: string[] = [];
  readonly #ends: (readonly string[])[] = [];

  constructor(stream: TokenStream) {
    this.#stream = stream;
    this.#expressions = new ExpressionParser(stream);
  }

  template(): Block {
    return this.#statements();
  }

  /** Statements up to one of the ending tags, which stays in place behind its `{%`; without `ends`, to the end of the template. */
  #statements(ends?: readonly string[]): Statement[] {
    const stream = this.#stream;
    const body: Statement[] = [];
    if (ends !== undefined) {
      this.#ends.push(ends);
      if (this.#ends.length > DEEPEST) {
        stream.fail(`blocks nest deeper than ${DEEPEST} levels`);
      }
    }
    while (!stream.is("end")) {
      const { type, value, line } = stream.take();
      if (type === "data") {
        body.push({ kind: "text", text: value, line });
      } else if (type === "variableBegin") {
        body.push({ kind: "print", value: this.#expressions.tuple(), line });
        stream.expect("variableEnd");
      } else if (type === "blockBegin") {
        if (ends !== undefined && stream.isName(...ends)) {
          this.#ends.pop();
          return body;
        }
        body.push(...this.#statement());
        stream.expect("blockEnd");
      } else {
        stream.fail(`unexpected '${value}'`, line);
      }
    }
    if (ends !== undefined) {
      this.#failEnd(undefined);
    }
    return body;
  }

  /** The body of a block tag: what follows its `%}` up to one of the ending words. */
  #body(...ends: string[]): Statement[] {
    this.#stream.skip("operator", ":");
    this.#stream.expect("blockEnd");
    return this.#statements(ends);
  }

  /** A body with one ending word, which is taken. */
  #bodyTo(end: string): Statement[] {
    const body = this.#body(end);
    this.#stream.take();
    return body;
  }

  #failEnd(unknownTag: string | undefined, line?: number): never {
    const looking = this.#ends
      .at(-1)
      ?.map((word) => `'${word}'`)
      .join(" or ");
    const message = [
      unknownTag === undefined ? "Unexpected end of template." : `Encountered unknown tag '${unknownTag}'.`,
    ];
    if (looking !== undefined) {
      message.push(
        unknownTag !== undefined && this.#ends.flat().includes(unknownTag)
          ? `You probably made a nesting mistake. Jinja is expecting this tag, but currently looking for ${looking}.`
          : `Jinja was looking for the following tags: ${looking}.`,
      );
    }
    const innermost = this.#tags.at(-1);
    if (innermost !== undefined) {
      message.push(`The innermost block that needs to be closed is '${innermost}'.`);
    }
    this.#stream.fail(message.join(" "), line);
  }

  #statement(): readonly Statement[] {
    const stream = this.#stream;
    if (!stream.is("name")) {
      stream.fail("tag name expected");
    }
    const { value: tag, line } = stream.current;
    const parse = this.#parsers.get(tag);
    const missing = UNSUPPORTED.get(tag);
    if (missing !== undefined) {
      stream.fail(`{% ${tag} %} needs ${missing}, which templates here do not have`, line);
    }
    if (parse === undefined) {
      this.#failEnd(tag, line);
    }
    stream.take();
    this.#tags.push(tag);
    const statements = parse(line);
    this.#tags.pop();
    return statements;
  }

  readonly #parsers: ReadonlyMap<string, (line: number) => readonly Statement[]> = new Map<
    string,
    (line: number) => readonly Statement[]
  >([
    ["if", (line) => [this.#if(line)]],
    ["for", (line) => [this.#for(line)]],
    ["set", (line) => [this.#set(line)]],
    ["macro", (line) => [this.#macro(line)]],
    ["call", (line) => [this.#call(line)]],
    ["filter", (line) => [this.#filter(line)]],
    ["with", (line) => [this.#with(line)]],
    ["block", (line) => [this.#block(line)]],
    ["print", (line) => this.#print(line)],
    ["generation", (line) => [{ kind: "generation", body: this.#bodyTo("endgeneration"), line }]],
    ["break", (line) => [{ kind: "break", line }]],
    ["continue", (line) => [{ kind: "continue", line }]],
  ]);

  #if(line: number): Statement {
    const branches: (readonly [Expression, Block])[] = [];
    let otherwise: Block = [];
    let end = "elif";
    while (end === "elif") {
      const test = this.#expressions.tuple({ withConditional: false });
      branches.push([test, this.#body("elif", "else", "endif")]);
      end = this.#stream.take().value;
    }
    if (end === "else") {
      otherwise = this.#bodyTo("endif");
    }
    return { kind: "if", branches, otherwise, line };
  }

  #for(line: number): Statement {
    const stream = this.#stream;
    const target = this.#expressions.target("in");
    stream.expect("name", "in");
    if (namesLoop(target)) {
      throw new JinjaError("TemplateAssertionError", "Can't assign to special loop variable in for-loop target", line);
    }
    const iterable = this.#expressions.tuple({ withConditional: false, end: "recursive" });
    const test = stream.skip("name", "if") ? this.#expressions.expression() : undefined;
    const recursive = stream.skip("name", "recursive");
    const body = this.#body("endfor", "else");
    const otherwise = stream.take().value === "else" ? this.#bodyTo("endfor") : [];
    return { kind: "for", target, iterable, test, recursive, body, otherwise, line };
  }

  #set(line: number): Statement {
    const target = this.#expressions.target(undefined, true);
    if (this.#stream.skip("operator", "=")) {
      return { kind: "set", target, value: this.#expressions.tuple(), line };
    }
    const filter = this.#expressions.filters(undefined);
    return { kind: "setBlock", target, filter, body: this.#bodyTo("endset"), line };
  }

  #macro(line: number): Statement {
    const name = this.#stream.expect("name").value;
    const signature = this.#signature();
    return { kind: "macro", name, signature, body: this.#bodyTo("endmacro"), line };
  }

  #signature(): Signature {
    const stream = this.#stream;
    const names: string[] = [];
    const defaults: Expression[] = [];
    stream.expect("operator", "(");
    while (!stream.is("operator", ")")) {
      if (names.length > 0) {
        stream.expect("operator", ",");
      }
      const name = stream.expect("name").value;
      if (names.includes(name)) {
        throw new JinjaError("SyntaxError", `duplicate argument '${name}' in function definition`, stream.current.line);
      }
      if (stream.skip("operator", "=")) {
        defaults.push(this.#expressions.expression());
      } else if (defaults.length > 0) {
        stream.fail("non-default argument follows default argument");
      }
      names.push(name);
    }
    stream.expect("operator", ")");
    return { names, defaults };
  }

  #call(line: number): Statement {
    const signature = this.#stream.is("operator", "(") ? this.#signature() : { names: [], defaults: [] };
    const expression = this.#expressions.expression();
    if (expression.kind !== "call") {
      this.#stream.fail("expected call", line);
    }
    const { callee, call } = expression;
    return { kind: "callBlock", callee, call, signature, body: this.#bodyTo("endcall"), line };
  }

  #filter(line: number): Statement {
    const filter = this.#expressions.filters(undefined, true);
    if (filter === undefined) {
      throw new JinjaError("TemplateSyntaxError", "expected a filter", line);
    }
    return { kind: "filterBlock", filter, body: this.#bodyTo("endfilter"), line };
  }

  #with(line: number): Statement {
    const stream = this.#stream;
    const targets: ReturnType<ExpressionParser["target"]>[] = [];
    const values: Expression[] = [];
    while (!stream.is("blockEnd")) {
      if (targets.length > 0) {
        stream.expect("operator", ",");
      }
      targets.push(this.#expressions.target());
      stream.expect("operator", "=");
      values.push(this.#expressions.expression());
    }
    return { kind: "with", targets, values, body: this.#bodyTo("endwith"), line };
  }

  /** Without inheritance a block is a scope of its own, rendered where it stands. */
  #block(line: number): Statement {
    const stream = this.#stream;
    const name = stream.expect("name").value;
    stream.skip("name", "scoped");
    stream.skip("name", "required");
    const body = this.#bodyTo("endblock");
    stream.skip("name", name);
    return { kind: "scope", body, line };
  }

  #print(line: number): Statement[] {
    const statements: Statement[] = [];
    while (!this.#stream.is("blockEnd")) {
      if (statements.length > 0) {
        this.#stream.expect("operator", ",");
      }
      statements.push({ kind: "print", value: this.#expressions.expression(), line });
    }
    return statements;
  }
}

function namesLoop(target: ReturnType<ExpressionParser["target"]>): boolean {
  return target.kind === "tuple" ? target.items.some(namesLoop) : target.kind === "variable" && target.name === "loop";
}
