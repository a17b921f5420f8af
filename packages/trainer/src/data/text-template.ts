import { JinjaTemplate } from "@fms-accel/models";
import { DatasetError, reasonOf, type DataLocation } from "./errors.ts";
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

/**
 * A `data_formatter_template`: Jinja over the columns of a row, which are also under `element` for names that are no identifiers
 * (`{{ element['my column'] }}`), and the tokenizer's special tokens (`{{ eos_token }}`). Rendered as fms-hf-tuning does: sandboxed, white
 * space kept, and a name that is not there is an error unless the template asks for it (`is defined`, `default`).
 */
export class TextTemplate {
  readonly #template: JinjaTemplate;
  readonly #specialTokens: Readonly<Record<string, string>>;

  /**
   * @param specialTokens by their name in templates, `eos_token` and so on
   * @throws DatasetError where the template cannot be parsed
   */
  constructor(source: string, specialTokens: Readonly<Record<string, string>> = {}) {
    this.#specialTokens = specialTokens;
    try {
      this.#template = new JinjaTemplate(source, { undefined: "strict", trimBlocks: false, lstripBlocks: false });
    } catch (error) {
      throw new DatasetError(`data_formatter_template is not valid Jinja (${reasonOf(error)})`, {}, { cause: error });
    }
  }

  /** The text of one row. */
  render(row: Row, where: DataLocation): string {
    try {
      return this.#template.render({ ...this.#specialTokens, ...row, element: row });
    } catch (error) {
      throw new DatasetError(`data_formatter_template cannot be rendered (${reasonOf(error)})`, where, {
        hint: `the row has ${describeKeys(Object.keys(row))}`,
        cause: error,
      });
    }
  }
}
