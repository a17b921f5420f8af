import { describe, expect, it } from "vitest";
import { DatasetError, detectFormat, type SampleFormat, type SampleFormatOptions } from "../../src/data/index.ts";
import { errorOf } from "./fixtures.ts";

describe("detectFormat", () => {
  const keys = { response: "R:" };
  const cases: [string[], SampleFormatOptions, SampleFormat][] = [
    [
      ["input_ids", "labels", "attention_mask", "text"],
      {},
      { kind: "pretokenized", labels: true, attentionMask: true },
    ],
    [["messages", "input_ids"], {}, { kind: "pretokenized", labels: false, attentionMask: false }],
    [["messages", "instruction", "output"], {}, { kind: "chat", column: "messages" }],
    [["dialogue"], { datasetConversationField: "dialogue" }, { kind: "chat", column: "dialogue" }],
    [
      ["messages"],
      { responseTemplate: "A:", instructionTemplate: "U:" },
      { kind: "chat", column: "messages", keys: { response: "A:", instruction: "U:" } },
    ],
    [
      ["messages", "text"],
      { datasetTextField: "text", responseTemplate: "R:" },
      { kind: "text", column: "text", keys },
    ],
    [
      ["text"],
      { datasetTextField: "text", responseTemplate: "\\nR\\u003a" },
      { kind: "text", column: "text", keys: { response: "\nR:" } },
    ],
    [
      ["text"],
      { datasetTextField: "text", responseTemplate: "", completionOnlyLoss: false },
      { kind: "text", column: "text" },
    ],
    [["text"], { datasetTextField: "text", packing: true }, { kind: "text", column: "text" }],
    [
      ["a", "b"],
      { dataFormatterTemplate: "{{a}}\\n{{b}}", responseTemplate: "R:" },
      { kind: "template", template: "{{a}}\n{{b}}", keys },
    ],
    [["instruction", "input", "output"], {}, { kind: "alpaca", input: true }],
    [["output", "instruction"], {}, { kind: "alpaca", input: false }],
    [["input", "output", "prompt", "completion"], {}, { kind: "pairs", input: "input", output: "output" }],
    [["prompt", "completion"], {}, { kind: "pairs", input: "prompt", output: "completion" }],
  ];

  it.each(cases)("%j %j", (columns, options, expected) =>
    expect(detectFormat(columns, options).format).toEqual(expected),
  );

  it("says which options have no effect", () => {
    expect(detectFormat(["input", "output"], { responseTemplate: "R:" }).notes).toEqual([
      "response_template is not used: the columns say what the answer is",
    ]);
    expect(detectFormat(["m"], { datasetConversationField: "m", datasetTextField: "t" }).notes).toEqual([
      "dataset_text_field is not used: the chat template makes the text",
    ]);
    expect(detectFormat(["input_ids"], {}).notes).toEqual(['no column "labels": all tokens are trained']);
  });

  const errors: [string[], SampleFormatOptions, RegExp][] = [
    [
      ["question", "answer"],
      {},
      /^the columns tell no format: expected input_ids, .* to be set, found "question", "answer"$/,
    ],
    [["input_ids", "labels"], { responseTemplate: "x" }, /^response_template not applicable for pretokenized datasets/],
    [
      ["text"],
      { datasetTextField: "txt", responseTemplate: "x" },
      /^column "txt": dataset_text_field names a column that is not there: found "text"$/,
    ],
    [["text"], { datasetTextField: "text", dataFormatterTemplate: "{{text}}" }, /both set, but are mutually exclusive/],
    [
      ["text"],
      { datasetTextField: "text" },
      /^Since response_template is not provided for masking.*use packing, padding_free/,
    ],
    [
      ["text"],
      { datasetTextField: "text", instructionTemplate: "U:", packing: true },
      /instruction_template is set without/,
    ],
    [
      ["messages"],
      { responseTemplate: "A:" },
      /a conversation needs both response_template and instruction_template, or neither/,
    ],
    [["text"], { datasetConversationField: "messages" }, /column "messages": dataset_conversation_field names/],
  ];

  it.each(errors)("%j %j is an error", async (columns, options, message) => {
    const error = await errorOf(() => detectFormat(columns, options));
    expect(error).toBeInstanceOf(DatasetError);
    expect(error.message).toMatch(message);
  });
});
