import { answerOfCompletion, answersOfConversation, type KeySpan } from "./masking.ts";
import type { AnswerKeys } from "./sample-format.ts";
import { CodePoints, coveredLength, findInText, labelsOfSpans } from "./text-spans.ts";
import type { DataTokenizer } from "./tokenizer.ts";

/** A row in tokens. */
export interface EncodedRow {
  /** At most `maxLength` token ids. */
  readonly inputIds: Int32Array;
  /** One label a token: its id, or −100. */
  readonly labels: Int32Array;
  /** Number of tokens before truncation. */
  readonly fullLength: number;
  /** Keys that were looked for and not found. */
  readonly missing: readonly ("response" | "instruction")[];
  /** What should be counted and shown. */
  readonly remarks: readonly RowRemark[];
}

/** Harmless oddities of a row. */
export type RowRemark = "eos-twice" | "bos-twice" | "padding-removed";

/** Finds what is trained in a text of which `covered` code points are left after truncation. */
export type FindAnswers = (
  text: string,
  positions: CodePoints,
  covered: number,
) => { readonly spans: readonly KeySpan[]; readonly missing: EncodedRow["missing"] };

/** Tokens of a text, cut at `maxLength`, and the labels of its answers. */
export async function encodeText(
  text: string,
  tokenizer: DataTokenizer,
  maxLength: number,
  findAnswers: FindAnswers,
  remarks: readonly RowRemark[] = [],
  addSpecialTokens = true,
): Promise<EncodedRow> {
  const encoding = await tokenizer.encode(text, { addSpecialTokens });
  const fullLength = encoding.ids.length;
  const inputIds = Int32Array.from({ length: Math.min(fullLength, maxLength) }, (_, i) => encoding.ids[i]!);
  const positions = new CodePoints(text);
  const covered = inputIds.length < fullLength ? coveredLength(encoding, inputIds.length) : positions.length;
  const { spans, missing } = findAnswers(text, positions, covered);
  const labels = labelsOfSpans(inputIds, encoding, spans, positions.length);
  const twice =
    tokenizer.bosTokenId !== undefined && inputIds[0] === tokenizer.bosTokenId && inputIds[1] === inputIds[0];
  return { inputIds, labels, fullLength, missing, remarks: twice ? [...remarks, "bos-twice"] : remarks };
}

/** Answers behind the response key (the last one, or one a turn); the whole text where there are no keys. */
export function answersIn(keys: AnswerKeys | undefined): FindAnswers {
  if (keys === undefined) return (_text, positions) => ({ spans: [[0, positions.length]], missing: [] });
  const { response, instruction } = keys;
  return (text, positions, covered) => {
    const left = (key: string): KeySpan[] => findInText(text, key, positions).filter(([, end]) => end <= covered);
    const responses = left(response);
    const missing: ("response" | "instruction")[] = responses.length === 0 ? ["response"] : [];
    if (instruction === undefined) return { spans: answerOfCompletion(responses, positions.length), missing };
    const instructions = left(instruction);
    if (instructions.length === 0) missing.push("instruction");
    return { spans: answersOfConversation(instructions, responses, positions.length), missing };
  };
}
