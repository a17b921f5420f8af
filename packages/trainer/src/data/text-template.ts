import { DatasetError, reasonOf, type DataLocation } from "./errors.ts";
import { jinja, type JinjaEnvironment, type JinjaNode, type JinjaValue } from "./jinja.ts";
import { describeKeys, type Row } from "./row.ts";

/**
 * Reads the escapes of a template given on a command line: `\n`, `\t`, `\r`, `\\`, `\"`, `\'`, `\xhh`, `\uhhhh`, `\Uhhhhhhhh`. Anything
 * else stays as it is; fms-hf-tuning's Python codec would also turn `ü` into `Ã¼`.
 */
export function unescapeTemplate(text: string): string {
  return text.replaceAll(
    /\\(?:([abfnrtv0\\'"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))/g,
    (all: string, letter?: string, byte?: string, short?: string, long?: string) => {
      if (letter !== undefined) return LETTERS[letter] ?? all;
      const code = Number.parseInt(byte ?? short ?? long ?? "", 16);
      return code <= 0x10ffff ? String.fromCodePoint(code) : all;
    },
  );
}

const LETTERS: Readonly<Record<string, string>> = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "0": "\0",
  "\\": "\\",
  "'": "'",
  '"': '"',
};

/** In both spellings, as Jinja has them. */
const CONSTANTS = { true: true, false: false, none: null, True: true, False: false, None: null };

/**
 * A `data_formatter_template`: Jinja over the columns of a row, which are also under `element` for names that are no identifiers
 * (`{{ element['my column'] }}`), and the tokenizer's special tokens (`{{ eos_token }}`). A name that is not there is an error, as
 * with Jinja's StrictUndefined, unless the template asks for it (`is defined`, `default`). A null column prints nothing.
 */
export class TextTemplate {
  readonly #program: JinjaNode;
  readonly #specialTokens: Readonly<Record<string, string>>;

  /**
   * @param specialTokens by their name in templates, `eos_token` and so on
   * @throws DatasetError where the template cannot be parsed
   */
  constructor(source: string, specialTokens: Readonly<Record<string, string>> = {}) {
    this.#specialTokens = specialTokens;
    try {
      this.#program = jinja.parse(jinja.tokenize(source));
    } catch (error) {
      throw new DatasetError(
        "data_formatter_template is not valid Jinja",
        {},
        { found: reasonOf(error), cause: error },
      );
    }
  }

  /** The text of one row. */
  render(row: Row, where: DataLocation): string {
    const globals = new jinja.Environment();
    for (const [name, value] of Object.entries(CONSTANTS)) globals.set(name, value);
    const environment = new jinja.Environment(globals);
    for (const [name, value] of Object.entries({ ...this.#specialTokens, ...row, element: row })) {
      environment.variables.delete(name);
      environment.set(name, value);
    }
    try {
      return String(new StrictInterpreter(environment).run(this.#program).value);
    } catch (error) {
      throw new DatasetError("data_formatter_template cannot be rendered", where, {
        found: reasonOf(error),
        hint: `the row has ${describeKeys(Object.keys(row))}`,
        cause: error,
      });
    }
  }
}

/** Throws where a name or an attribute does not exist, which Jinja's default and this library print as nothing. */
class StrictInterpreter extends jinja.Interpreter {
  /** Operands that may be undefined: the template asks whether they are. */
  readonly #tolerated = new WeakSet<JinjaNode>();

  override evaluate(node: JinjaNode | undefined, environment: JinjaEnvironment): JinjaValue {
    if (node === undefined) return super.evaluate(node, environment);
    if (asksForUndefined(node)) this.#tolerated.add(node.operand);
    const value = super.evaluate(node, environment);
    const named = node.type === "Identifier" || node.type === "MemberExpression";
    if (named && value.type === "UndefinedValue" && !this.#tolerated.has(node)) {
      throw new Error(`${JSON.stringify(nameOf(node))} is undefined`);
    }
    return value;
  }
}

function asksForUndefined(node: JinjaNode): node is JinjaNode & { operand: JinjaNode } {
  if (!("operand" in node)) return false;
  if (node.type === "TestExpression" && "test" in node) return /^(?:un)?defined$/.test(nameOf(node.test));
  if (node.type !== "FilterExpression" || !("filter" in node)) return false;
  const filter = node.filter;
  const called = typeof filter === "object" && filter !== null && "callee" in filter ? filter.callee : filter;
  return nameOf(called) === "default";
}

/** The source of a name, as far as it matters in a message: `element['a']` is `a`. */
function nameOf(node: unknown): string {
  if (typeof node !== "object" || node === null) return "";
  if ("property" in node) return nameOf(node.property);
  return "value" in node ? String(node.value) : "expression";
}
