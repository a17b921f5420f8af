import { fixturePath, readJsonFixture } from "@fms-accel/test-utilities";
import { beforeAll, describe, expect, it } from "vitest";
import {
  AutoTokenizer,
  ChatTemplateError,
  type ChatTemplateOptions,
  type PreTrainedTokenizer,
} from "../../src/tokenizer/index.ts";

interface Case {
  readonly template: string | null;
  readonly conversation: string;
  readonly tokenizer: string;
  readonly kwargs: Record<string, unknown>;
  readonly result?: {
    readonly text: string;
    readonly input_ids: number[];
    readonly assistant_masks?: number[];
    readonly generation_spans?: [number, number][];
    readonly generated_text?: string[];
  };
  readonly error?: { readonly type: string; readonly message: string };
}

interface Fixture {
  readonly about: { readonly now: string };
  readonly templates: Record<string, string>;
  readonly conversations: Record<string, Record<string, unknown>[]>;
  readonly cases: Case[];
}

const fixture = readJsonFixture<Fixture>("data", "chat.json");

function listOf(value: unknown): Record<string, unknown>[] | undefined {
  return value as Record<string, unknown>[] | undefined;
}

/** The options of a case's keyword arguments; what is no option is a variable of the template. */
function optionsOf(kwargs: Record<string, unknown>): ChatTemplateOptions {
  const { add_generation_prompt, continue_final_message, tools, documents, ...templateKwargs } = kwargs;
  return {
    addGenerationPrompt: add_generation_prompt === true,
    continueFinalMessage: continue_final_message === true,
    tools: listOf(tools),
    documents: listOf(documents),
    templateKwargs,
    now: () => new Date(fixture.about.now),
  };
}

describe("chat.json", () => {
  const tokenizers = new Map<string, PreTrainedTokenizer>();

  beforeAll(async () => {
    for (const name of ["byte-level", "sentencepiece-like"]) {
      tokenizers.set(name, await AutoTokenizer.fromPretrained(fixturePath("data", "tokenizer", name)));
    }
  });

  it("has all its cases", () => {
    expect(fixture.cases).toHaveLength(399);
  });

  it.each(
    fixture.cases.map((each, index): [string, Case] => [
      `${index}: ${each.template} with ${each.conversation} on ${each.tokenizer} ${Object.keys(each.kwargs).join(" ")}`,
      each,
    ]),
  )("%s", async (_, expected) => {
    const tokenizer = tokenizers.get(expected.tokenizer);
    const messages = fixture.conversations[expected.conversation];
    if (tokenizer === undefined || messages === undefined) {
      throw new Error("the fixture names a tokenizer or a conversation that it does not have");
    }
    const marks = expected.template?.endsWith("+gen") === true || expected.result?.assistant_masks !== undefined;
    const call = tokenizer.applyChatTemplate(messages, {
      ...optionsOf(expected.kwargs),
      chatTemplate: expected.template === null ? undefined : (fixture.templates[expected.template] ?? ""),
      returnAssistantTokensMask: marks,
    });
    if (expected.error !== undefined) {
      const error: unknown = await call.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(ChatTemplateError);
      expect(error).toMatchObject({ type: expected.error.type, detail: expected.error.message });
      return;
    }
    const chat = await call;
    expect(chat.text).toBe(expected.result?.text);
    expect(chat.ids).toEqual(expected.result?.input_ids);
    if (marks) {
      expect(chat.assistantMask).toEqual(expected.result?.assistant_masks);
      expect(chat.generationSpans).toEqual(expected.result?.generation_spans);
      const characters = Array.from(chat.text);
      expect(chat.generationSpans.map(([start, end]) => characters.slice(start, end).join(""))).toEqual(
        expected.result?.generated_text,
      );
    }
  });
});
