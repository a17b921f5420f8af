import type { PreTrainedTokenizer } from "@fms-accel/models";
import { describe, expect, it } from "vitest";
import {
  alpacaPrompt,
  createRowEncoder,
  DatasetError,
  detectFormat,
  loadDataset,
  preprocessDataset,
  TextTemplate,
  type ChatMessage,
  type EncodedRow,
  type Row,
  type SampleFormat,
  type SampleFormatOptions,
} from "../../src/data/index.ts";
import { expectedText, trainedText } from "./answers.ts";
import { errorOf, readFixture, TemporaryFolder } from "./fixtures.ts";
import { byteLevel, load } from "./tokenizers.ts";

interface Failure {
  type: string;
  message: string;
}
interface Tokens {
  input_ids: number[];
  labels: number[];
}
interface Handled {
  tokenizer: string;
  handler: string;
  element: Row & { messages?: ChatMessage[] };
  arguments: {
    template?: string;
    add_eos_token?: boolean;
    tokenizer_kwargs?: { max_length: number };
    max_seq_length?: number;
    max_length?: number;
    conversation_column_name?: string;
  };
  result?: Tokens & { text?: string };
  error?: Failure;
}
interface Run {
  tokenizer: string;
  file: string;
  data_args: Record<string, string>;
  train_args: { packing?: boolean; eval_strategy?: string };
  padding_free: boolean;
  result?: { rows: (Partial<Tokens> & { text?: string; output?: string })[] };
  error?: Failure;
}
interface Choice {
  packing: boolean;
  padding_free: boolean;
  pretokenized: boolean;
  response_template: string | null;
  instruction_template: string | null;
  result?: { class: string | null };
  error?: Failure;
}
interface AlpacaCase {
  row: { instruction: string; input: string; output: string };
  script_simple: { output: string };
  script_verbose: { output: string };
  benchmark_instruct: { output: string };
}

const golden = readFixture("data/tuning.json") as {
  about: { chat_template: string };
  handlers: Handled[];
  collator_choice: Choice[];
  files: Record<string, Row[]>;
  process_dataargs: Run[];
  alpaca_prompts: AlpacaCase[];
};

const { chat_template: chatTemplate } = golden.about;
const tokenizers: Readonly<Record<string, PreTrainedTokenizer>> = {
  "byte-level": await load("byte-level", chatTemplate),
  "sentencepiece-like": await load("sentencepiece-like", chatTemplate),
};

function handled(name: string): (readonly [string, Handled])[] {
  const cases = golden.handlers.filter((test) => test.handler === name);
  return cases.map((test, i) => [`${i}: ${test.tokenizer} ${JSON.stringify(test.arguments)}`, test] as const);
}

async function encode(test: Handled, format: SampleFormat, maxLength = 4096): Promise<EncodedRow> {
  const tokenizer = await load(test.tokenizer, chatTemplate);
  if (test.arguments.add_eos_token === false) tokenizer.eosToken = undefined;
  return createRowEncoder(format, tokenizer, { maxLength, vocabSize: 4096 })(test.element, { row: 0 });
}

const unescape = (value: string | undefined): string | null => value?.replaceAll("\\n", "\n") ?? null;

const tokensOf = (row: EncodedRow): Tokens => ({ input_ids: Array.from(row.inputIds), labels: Array.from(row.labels) });

describe("tokenize_and_apply_input_masking", () => {
  it.each(handled("tokenize_and_apply_input_masking"))("%s", async (_name, test) => {
    const run = () =>
      encode(test, { kind: "pairs", input: "input", output: "output" }, test.arguments.tokenizer_kwargs?.max_length);
    if (test.error !== undefined) {
      expect(await errorOf(run)).toBeInstanceOf(DatasetError);
      return;
    }
    const ours = tokensOf(await run());
    const { input_ids, labels } = test.result!;
    expect(ours.input_ids).toEqual(input_ids);
    const { input, output } = test.element as Record<string, string>;
    if (input!.endsWith(" ")) {
      // README-data: the question tokenised alone has a token for its last space, which merges with the answer's first word. The
      // reference masks as many tokens as the question has alone, and the first word with them. We train the whole answer.
      const border = labels.lastIndexOf(-100);
      expect(ours.labels).toEqual(labels.with(border, input_ids[border]!));
      expect(trainedText(test.tokenizer, labels)).not.toBe(expectedText(`?${output}</s>`, "?", null));
      expect(trainedText(test.tokenizer, ours.labels)).toBe(expectedText(`?${output}</s>`, "?", null));
    } else {
      expect(ours.labels).toEqual(labels);
    }
  });
});

describe("tokenize_and_apply_chat_template_with_masking", () => {
  it.each(handled("tokenize_and_apply_chat_template_with_masking"))("%s", async (_name, test) => {
    const run = () => encode(test, { kind: "chat", column: "messages" }, test.arguments.max_seq_length);
    if (test.error !== undefined) {
      expect((await errorOf(run)).message).toBe('row 0, column "messages": no messages: expected at least one');
      return;
    }
    const { input_ids, labels } = test.result!;
    expect(tokensOf(await run())).toEqual({ input_ids, labels });
  });
});

describe("apply_tokenizer_chat_template", () => {
  it.each(handled("apply_tokenizer_chat_template"))("%s", async (_name, test) => {
    const tokenizer = tokenizers[test.tokenizer]!;
    if (test.error !== undefined) {
      const column = test.arguments.conversation_column_name!;
      const error = await errorOf(() => detectFormat(Object.keys(test.element), { datasetConversationField: column }));
      expect(error.message).toMatch(
        /column "chat": dataset_conversation_field names a column that is not there: found "messages"/,
      );
      return;
    }
    expect(tokenizer.renderChatTemplate(test.element.messages!, {}).text).toBe(test.result!.text);
  });
});

describe("apply_custom_jinja_template", () => {
  it.each(handled("apply_custom_jinja_template"))("%s", async (_name, test) => {
    const template = test.arguments.template!;
    const render = () =>
      new TextTemplate(template, { bos_token: "<s>", eos_token: "</s>" }).render(test.element, { row: 0 });
    if (test.error === undefined) {
      expect(render()).toBe(test.result!.text);
    } else {
      const error = await errorOf(render);
      expect(error).toBeInstanceOf(DatasetError);
      // Jinja's own words stand at the end of the reference's message.
      const words = /(?:dataset|invalid|template)\. ([^.]+?)\.?"?$/i.exec(test.error.message)?.[1];
      expect(words).toMatch(/undefined|unexpected end|unsafe/);
      expect(error.message).toContain(words);
    }
  });
});

describe("tokenize", () => {
  it.each(handled("tokenize"))("%s", async (_name, test) => {
    const row = await encode(test, { kind: "text", column: "text" }, test.arguments.max_length);
    expect(Array.from(row.inputIds)).toEqual(test.result!.input_ids);
  });
});

describe("collator choice", () => {
  // The reference chooses a collator, which masks. Here rows are masked before, and one collator pads; what corresponds is which
  // tokens are trained, and which options are refused.
  it.each(golden.collator_choice.map((test, i) => [i, test] as const))("%i", async (_i, test) => {
    const options: SampleFormatOptions = {
      datasetTextField: test.pretokenized ? undefined : "text",
      responseTemplate: test.response_template ?? undefined,
      instructionTemplate: test.instruction_template ?? undefined,
      packing: test.packing,
      paddingFree: test.padding_free,
    };
    const run = () => detectFormat(test.pretokenized ? ["input_ids", "labels"] : ["text"], options).format;
    const templates = test.response_template !== null || test.instruction_template !== null;
    // An instruction template alone would be ignored with packing or padding_free: an error here.
    const lonely = test.response_template === null && test.instruction_template !== null;
    if (test.error !== undefined || (test.pretokenized && templates) || lonely) {
      expect(await errorOf(run)).toBeInstanceOf(DatasetError);
    } else if (test.pretokenized) {
      expect(run()).toEqual({ kind: "pretokenized", labels: true, attentionMask: false });
    } else {
      // README-data: padding_free loses the answer mask in the reference. It does not here.
      const keys = {
        response: test.response_template,
        ...(test.instruction_template === null ? {} : { instruction: test.instruction_template }),
      };
      expect(run()).toEqual({ kind: "text", column: "text", ...(test.response_template === null ? {} : { keys }) });
    }
  });
});

describe("process_dataargs", () => {
  const names = { dataset_text_field: "datasetTextField", dataset_conversation_field: "datasetConversationField" };
  const templates = {
    data_formatter_template: "dataFormatterTemplate",
    response_template: "responseTemplate",
    instruction_template: "instructionTemplate",
  };
  const cases = golden.process_dataargs.filter((test) => test.train_args.eval_strategy === undefined);
  const named = cases.map((test) => {
    const options = JSON.stringify({ ...test.data_args, ...test.train_args, padding_free: test.padding_free });
    return [`${test.tokenizer} ${test.file} ${options}`, test] as const;
  });

  it.each(named)("%s", async (_name, test) => {
    using folder = new TemporaryFolder();
    const rows = golden.files[test.file]!;
    const path = folder.write(`${test.file}.jsonl`, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    const known: Record<string, string> = { ...names, ...templates };
    const options = Object.fromEntries(Object.entries(test.data_args).map(([name, value]) => [known[name]!, value]));
    const tokenizer = tokenizers[test.tokenizer]!;
    const run = async () =>
      preprocessDataset(await loadDataset(path), tokenizer, {
        ...options,
        maxSeqLength: 128,
        packing: test.train_args.packing,
        paddingFree: test.padding_free,
      });
    // The reference has no default for the conversation's column; here a column of the name `messages` is one.
    const foundByName = test.file === "chat" && test.data_args["dataset_conversation_field"] === undefined;
    if (test.error !== undefined && !foundByName) {
      expect(await errorOf(run)).toBeInstanceOf(DatasetError);
      return;
    }
    using samples = await run();
    expect(samples.length).toBe(rows.length);
    for (let i = 0; i < rows.length; i++) {
      const expected = (test.result ?? chatTexts()).rows[i]!;
      const sample = samples.sample(i);
      if (expected.input_ids !== undefined) {
        expect(Array.from(sample.inputIds)).toEqual(expected.input_ids);
        expect(Array.from(sample.labels)).toEqual(expected.labels);
        continue;
      }
      const text = expected.text ?? expected.output!;
      const encoding = await tokenizer.encode(text, { addSpecialTokens: test.file !== "chat" });
      expect(Array.from(sample.inputIds)).toEqual(encoding.ids);
      const response = unescape(test.data_args["response_template"]);
      const trained =
        response === null
          ? text.replaceAll(/\s/g, "")
          : expectedText(text, response, unescape(test.data_args["instruction_template"]));
      expect(trainedText(test.tokenizer, sample.labels).replace(/^<s>/, "")).toBe(trained);
      expect(trained).not.toBe("");
    }

    /** What the reference renders once it is told the column. */
    function chatTexts(): NonNullable<Run["result"]> {
      const same = cases.find(
        (other) => other.file === "chat" && other.tokenizer === test.tokenizer && other.result !== undefined,
      );
      return same!.result!;
    }
  });
});

describe("Alpaca prompts", () => {
  it.each(golden.alpaca_prompts.map((test) => [test.row.input, test] as const))("input %j", async (_input, test) => {
    const { instruction, input, output } = test.row;
    const prompt = alpacaPrompt(instruction, input);
    expect(`${prompt} ${output}`).toBe(test.script_verbose.output);
    expect(`${prompt} ${output}`).toBe(test.benchmark_instruct.output);
    const simple = new TextTemplate("Input:\n{{ input }}\n\n### Response: {{ output }}");
    expect(simple.render(test.row, {})).toBe(test.script_simple.output);
    const { format } = detectFormat(Object.keys(test.row), {});
    expect(format).toEqual({ kind: "alpaca", input: true });
    const row = await createRowEncoder(format, byteLevel, { maxLength: 512, vocabSize: 4096 })(test.row, {});
    expect(byteLevel.decode(row.inputIds)).toBe(`${test.script_verbose.output}</s>`);
    expect(trainedText("byte-level", row.labels)).toBe(expectedText(`?${output}</s>`, "?", null));
  });
});
