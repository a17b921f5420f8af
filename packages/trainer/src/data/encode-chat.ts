import { assistantSpans } from "./chat-spans.ts";
import { answersIn, encodeText, type EncodedRow, type FindAnswers } from "./encode-text.ts";
import { DatasetError, reasonOf, type DataLocation } from "./errors.ts";
import { describeValue, type Row } from "./row.ts";
import type { AnswerKeys } from "./sample-format.ts";
import type { ChatMessage, ChatRenderOptions, DataTokenizer } from "./tokenizer.ts";

const GENERATION_BLOCK = /\{%[-+]?\s*generation\s*[-+]?%\}/;

/**
 * A row with a conversation, through the chat template (columns `tools` and `documents` go with it). What is trained: with answer
 * keys, what they enclose; else what the template marks by `{% generation %}`; else what comes with the assistant's messages.
 */
export async function encodeConversation(
  row: Row,
  format: { readonly column: string; readonly keys?: AnswerKeys },
  tokenizer: DataTokenizer,
  options: { readonly maxLength: number; readonly now?: Date },
  where: DataLocation,
): Promise<EncodedRow> {
  const messages = messagesOf(row[format.column], { ...where, column: format.column });
  const now = options.now ?? new Date();
  const context: ChatRenderOptions = {
    ...listOf(row, "tools", where),
    ...listOf(row, "documents", where),
    now: () => now,
  };
  const render = (part: readonly ChatMessage[], addGenerationPrompt: boolean): string =>
    rendering(where, () => tokenizer.renderChatTemplate(part, { ...context, addGenerationPrompt }).text);
  const { text, generationSpans } = rendering(where, () => tokenizer.renderChatTemplate(messages, context));
  let findAnswers: FindAnswers;
  if (format.keys !== undefined) {
    findAnswers = answersIn(format.keys);
  } else if (GENERATION_BLOCK.test(tokenizer.getChatTemplate(context))) {
    findAnswers = () => ({ spans: generationSpans, missing: [] });
  } else {
    findAnswers = (_text, positions) => ({
      spans: assistantSpans(text, messages, render, where).map(([start, end]) => [
        positions.of(start),
        positions.of(end),
      ]),
      missing: [],
    });
  }
  // A template writes the special tokens itself.
  return encodeText(text, tokenizer, options.maxLength, findAnswers, [], false);
}

function messagesOf(value: unknown, where: DataLocation): readonly ChatMessage[] {
  if (!Array.isArray(value)) {
    throw new DatasetError("wrong type", where, { expected: "a list of messages", found: describeValue(value) });
  }
  if (value.length === 0) throw new DatasetError("no messages", where, { expected: "at least one" });
  for (const [i, message] of value.entries()) {
    const role: unknown =
      typeof message === "object" && message !== null && "role" in message ? message.role : undefined;
    if (typeof role !== "string") {
      throw new DatasetError(`message ${i} is not usable`, where, {
        expected: 'an object with "role" and "content"',
        found: describeValue(message),
      });
    }
  }
  return value as ChatMessage[];
}

/** An optional column that the template gets as it is. */
function listOf(row: Row, column: "tools" | "documents", where: DataLocation): ChatRenderOptions {
  const value = row[column];
  if (value === undefined || value === null) return {};
  if (!Array.isArray(value)) {
    throw new DatasetError(
      "wrong type",
      { ...where, column },
      { expected: "a list or null", found: describeValue(value) },
    );
  }
  const wrong = value.findIndex((item) => typeof item !== "object" || item === null || Array.isArray(item));
  if (wrong !== -1) {
    const found = describeValue(value[wrong]);
    throw new DatasetError(`item ${wrong} is not usable`, { ...where, column }, { expected: "an object", found });
  }
  return { [column]: value as Record<string, unknown>[] };
}

function rendering<T>(where: DataLocation, render: () => T): T {
  try {
    return render();
  } catch (error) {
    if (error instanceof DatasetError) throw error;
    throw new DatasetError(`the chat template cannot be rendered (${reasonOf(error)})`, where, { cause: error });
  }
}
