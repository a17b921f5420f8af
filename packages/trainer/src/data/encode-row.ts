import { alpacaPrompt, joinPair } from "./alpaca.ts";
import { encodeConversation } from "./encode-chat.ts";
import { encodePretokenized } from "./encode-pretokenized.ts";
import { answersIn, encodeText, type EncodedRow, type FindAnswers, type RowRemark } from "./encode-text.ts";
import { DatasetError, type DataLocation } from "./errors.ts";
import { describeValue, stringColumn, type Row } from "./row.ts";
import type { SampleFormat } from "./sample-format.ts";
import { TextTemplate } from "./text-template.ts";
import type { DataTokenizer } from "./tokenizer.ts";

export type RowEncoder = (row: Row, where: DataLocation) => Promise<EncodedRow>;

export interface RowEncoderOptions {
  /** Longest sample in tokens. */
  readonly maxLength: number;
  /** Rows of the model's embedding: pretokenised ids must be below. */
  readonly vocabSize: number;
  /** The time that chat templates write: one for all rows. */
  readonly now?: Date;
}

/** A function that makes tokens and labels of rows of one format. */
export function createRowEncoder(
  format: SampleFormat,
  tokenizer: DataTokenizer,
  options: RowEncoderOptions,
): RowEncoder {
  const { maxLength } = options;
  const eos = tokenizer.eosToken ?? "";
  switch (format.kind) {
    case "pretokenized":
      return async (row, where) => encodePretokenized(row, format, options, where);
    case "chat":
      return (row, where) => encodeConversation(row, format, tokenizer, options, where);
    case "text":
      return (row, where) => {
        const text = stringColumn(row, format.column, where);
        const remarks: RowRemark[] = eos !== "" && text.endsWith(eos) ? ["eos-twice"] : [];
        return encodeText(text + eos, tokenizer, maxLength, answersIn(format.keys), remarks);
      };
    case "template": {
      const template = new TextTemplate(format.template, Object.fromEntries(tokenizer.specialTokensMap));
      return (row, where) => encodeText(template.render(row, where), tokenizer, maxLength, answersIn(format.keys));
    }
    case "alpaca":
      return (row, where) => {
        const prompt = alpacaPrompt(stringColumn(row, "instruction", where), optionalInput(row, format.input, where));
        const text = `${prompt} ${stringColumn(row, "output", where)}${eos}`;
        return encodeText(text, tokenizer, maxLength, behind(prompt));
      };
    case "pairs":
      return (row, where) => {
        const input = stringColumn(row, format.input, where);
        const text = joinPair(input, stringColumn(row, format.output, where)) + eos;
        return encodeText(text, tokenizer, maxLength, behind(input));
      };
    default:
      throw new DatasetError(`unknown format ${String(format satisfies never)}`);
  }
}

/** What follows a prompt. */
function behind(prompt: string): FindAnswers {
  return (_text, positions) => ({ spans: [[positions.of(prompt.length), positions.length]], missing: [] });
}

/** The `input` column of an Alpaca row, which may be missing or null. */
function optionalInput(row: Row, present: boolean, where: DataLocation): string {
  const value = present ? row["input"] : undefined;
  if (value === undefined || value === null) return "";
  if (typeof value === "string") return value;
  throw new DatasetError(
    "wrong type",
    { ...where, column: "input" },
    { expected: "a string or null", found: describeValue(value) },
  );
}
