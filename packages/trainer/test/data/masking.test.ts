import { describe, expect, it } from "vitest";
import {
  createRowEncoder,
  IGNORE_INDEX,
  maskCompletion,
  maskConversation,
  type DataTokenizer,
  type EncodedRow,
  type MaskedLabels,
} from "../../src/data/index.ts";
import { expectedText, trainedText } from "./answers.ts";
import { readFixture } from "./fixtures.ts";
import { goldenTokenizer } from "./tokenizers.ts";

interface Case {
  tokenizer: string;
  group: string;
  batch: string;
  texts: string[];
  response_template: string | number[];
  instruction_template: string | number[] | null;
  how: string;
  options: { padding_free?: boolean; max_length?: number };
  result: {
    response_token_ids: number[];
    instruction_token_ids: number[] | null;
    input_ids: number[][];
    batch: { labels: number[][]; input_ids: number[][] };
    warnings: string[];
  };
}

const { cases } = readFixture("data/masking.json") as { cases: Case[] };
const EOS = 2;

/** The reference's labels of every sample: without its padding, and one row a sample where it flattened them. */
function referenceLabels({ options, result }: Case): number[][] {
  const labels = result.batch.labels;
  if (options.padding_free !== true) return result.input_ids.map((ids, i) => labels[i]!.slice(0, ids.length));
  let start = 0;
  return result.input_ids.map((ids) => labels[0]!.slice(start, (start += ids.length)));
}

function maskById({ result }: Case, ids: number[]): MaskedLabels {
  const { response_token_ids: response, instruction_token_ids: instruction } = result;
  const tokens = Int32Array.from(ids);
  return instruction === null ? maskCompletion(tokens, response) : maskConversation(tokens, instruction, response);
}

/** Warnings of the reference about keys that were not found. */
const warningsOfKeys = (test: Case): number =>
  test.result.warnings.filter((text) => text.startsWith("Could not find")).length;

/** It warns once for each missing key, and of the instruction key too where it has masked a row for want of the response key. */
function expectedWarnings(masked: readonly MaskedLabels[], test: Case): number {
  const both = test.instruction_template !== null;
  return masked.reduce((sum, { missing }) => sum + (missing.includes("response") && both ? 2 : missing.length), 0);
}

/** The label of the first token does not count: the reference masks it where it flattens. */
const withoutFirst = (labels: ArrayLike<number>): number[] => Array.from(labels).slice(1);

/** Tokens and labels by our way of looking for keys: in the text. Texts of the goldens have `<s>` in front and end as they stand. */
async function encode(test: Case, text: string, response: string): Promise<EncodedRow> {
  const tokenizer = goldenTokenizer(test.tokenizer);
  const plain: DataTokenizer = {
    eosToken: undefined,
    bosTokenId: undefined,
    specialTokensMap: new Map(),
    modelMaxLength: Infinity,
    encode: (whole) => tokenizer.encode(whole, { addSpecialTokens: false }),
    getChatTemplate: () => "",
    renderChatTemplate: () => ({ text: "", generationSpans: [] }),
  };
  const instruction = test.instruction_template;
  const keys = { response, ...(typeof instruction === "string" ? { instruction } : {}) };
  const format = { kind: "template", template: "<s>{{ text }}", keys } as const;
  const options = { maxLength: test.options.max_length ?? 4096, vocabSize: 1000 };
  return createRowEncoder(format, plain, options)({ text }, { row: 0 });
}

describe("masks by the ids of the keys, as TRL", () => {
  const named = cases.map((test) => [`${test.tokenizer}: ${test.group}, ${test.batch}, ${test.how}`, test] as const);

  it.each(named)("%s", async (_name, test) => {
    const masked = test.result.input_ids.map((ids) => maskById(test, ids));
    expect(expectedWarnings(masked, test)).toBe(warningsOfKeys(test));
    const ours = masked.map(({ labels }) => Array.from(labels));
    const reference = referenceLabels(test);
    if (test.group === "pad-is-eos") {
      // README-data: where padding has the id of </s>, the reference loses the label of every real </s>. We keep it.
      const withEos = reference.map((labels, row) => labels.map((label, i) => (ours[row]![i] === EOS ? EOS : label)));
      expect(ours).toEqual(withEos);
      expect(reference.flat()).not.toContain(EOS);
      if (test.tokenizer === "byte-level") expect(ours.flat().filter((label) => label === EOS)).toHaveLength(5);
    } else if (test.batch === "two-users-in-a-row" && test.tokenizer === "byte-level") {
      // README-data: two user turns in a row mispair the reference's spans, and nothing is left. We keep both answers.
      expect(new Set(reference.flat())).toEqual(new Set([IGNORE_INDEX]));
      expect(trainedText(test.tokenizer, ours[0]!)).toBe(expectedText(test.texts[0]!, "ASSISTANT:", "USER:"));
    } else if (test.options.padding_free === true) {
      expect(ours.map(withoutFirst)).toEqual(reference.map(withoutFirst));
    } else {
      expect(ours).toEqual(reference);
    }
  });

  it("finds no key of no ids, keys that overlap, and no part of a key at the end", () => {
    expect(maskCompletion(Int32Array.of(1, 2), [])).toEqual({
      labels: Int32Array.of(-100, -100),
      missing: ["response"],
    });
    expect(maskCompletion(Int32Array.of(7, 7, 7, 1), [7, 7]).labels).toEqual(Int32Array.of(-100, -100, -100, 1));
    expect(maskCompletion(Int32Array.of(3, 7), [7, 8]).missing).toEqual(["response"]);
    expect(maskCompletion(new Int32Array(0), [7])).toEqual({ labels: new Int32Array(0), missing: ["response"] });
  });
});

describe("masks by the text of the keys", () => {
  // README-data: a string is encoded without its context by the reference, so that it finds no `### Response:` behind a line break
  // with a Llama-2-like tokenizer. We look in the text and find every key that stands there, and no other.
  const byString = cases.filter((test) => test.group !== "pad-is-eos" && typeof test.response_template === "string");
  const named = byString.map(
    (test) => [`${test.tokenizer}: ${test.batch}, ${JSON.stringify(test.response_template)}`, test] as const,
  );

  it.each(named)("%s", async (_name, test) => {
    const response = test.response_template as string;
    const instruction = test.instruction_template as string | null;
    for (const [i, text] of test.texts.entries()) {
      const row = await encode(test, text, response);
      expect(Array.from(row.inputIds)).toEqual(test.result.input_ids[i]);
      expect(trainedText(test.tokenizer, row.labels)).toBe(expectedText(text, response, instruction));
      expect(row.missing.includes("response")).toBe(!text.includes(response));
      expect(row.missing.includes("instruction")).toBe(instruction !== null && !text.includes(instruction));
    }
  });

  it("gives TRL's labels wherever TRL finds the key, whichever ids it was given, and of truncated texts", async () => {
    let compared = 0;
    for (const test of cases) {
      const found = test.group === "completion" && warningsOfKeys(test) === 0;
      if (!found && test.group !== "truncated") continue;
      const reference = referenceLabels(test);
      for (const [i, text] of test.texts.entries()) {
        const row = await encode(test, text, "### Response:");
        expect(Array.from(row.labels)).toEqual(reference[i]);
        compared += 1;
      }
    }
    expect(compared).toBe(72);
  });
});
