import { DatasetError, type DataLocation } from "./errors.ts";
import type { KeySpan } from "./masking.ts";
import type { ChatMessage } from "./tokenizer.ts";

/** Renders the first messages of a conversation, with or without the header of an answer behind them. */
export type RenderPrefix = (messages: readonly ChatMessage[], addGenerationPrompt: boolean) => string;

/**
 * What the assistant wrote, in UTF-16 positions of the rendered conversation, for templates without `{% generation %}`: prefixes of
 * the conversation are rendered, and everything is masked that does not come with an assistant's message. The header of an answer is
 * masked with the message before it (fms-hf-tuning's `tokenize_and_apply_chat_template_with_masking`); an answer that comes first
 * or behind another keeps its header.
 *
 * @param text the whole conversation, rendered
 * @throws DatasetError where a template writes the start of a conversation differently once it goes on
 */
export function assistantSpans(
  text: string,
  messages: readonly ChatMessage[],
  render: RenderPrefix,
  where: DataLocation,
): KeySpan[] {
  const spans: KeySpan[] = [];
  let position = 0;
  for (let start = 0; start < messages.length;) {
    const isAnswer = messages[start]!.role === "assistant";
    let end = start + 1;
    while (end < messages.length && (messages[end]!.role === "assistant") === isAnswer) end += 1;
    const next = end === messages.length ? text.length : endOfPrefix(text, messages, end, !isAnswer, render, where);
    if (isAnswer) spans.push([position, next]);
    position = next;
    start = end;
  }
  return spans;
}

/** Where the first `count` messages end in the text, together with the header of an answer that follows. */
function endOfPrefix(
  text: string,
  messages: readonly ChatMessage[],
  count: number,
  beforeAnswer: boolean,
  render: RenderPrefix,
  where: DataLocation,
): number {
  const prefix = render(messages.slice(0, count), beforeAnswer);
  if (text.startsWith(prefix)) return prefix.length;
  const end = beforeAnswer ? undefined : endOfRewrittenAnswer(text, messages, count, render);
  if (end !== undefined) return end;
  throw new DatasetError(`the chat template writes the first ${count} messages differently when more follow`, where, {
    hint: "put {% generation %} … {% endgeneration %} around the assistant's text in the chat template",
  });
}

/** Stands for an answer; templates that look into answers (for `</think>`) find nothing in it. */
const PLACEHOLDER = "\uE000answer\uE000";

/**
 * The end of an answer that a template writes differently once a question follows (thinking is dropped from earlier turns): what
 * closes an answer is learnt from one with a placeholder, and what follows is the same for both.
 */
function endOfRewrittenAnswer(
  text: string,
  messages: readonly ChatMessage[],
  count: number,
  render: RenderPrefix,
): number | undefined {
  const answer: ChatMessage = { ...messages[count - 1]!, content: PLACEHOLDER };
  const replaced = [...messages.slice(0, count - 1), answer, ...messages.slice(count)];
  const closing = behindPlaceholder(render(replaced.slice(0, count), false));
  const rest = behindPlaceholder(render(replaced, false));
  if (closing === undefined || rest === undefined || !rest.startsWith(closing) || !text.endsWith(rest))
    return undefined;
  return text.length - rest.length + closing.length;
}

function behindPlaceholder(text: string): string | undefined {
  const parts = text.split(PLACEHOLDER);
  return parts.length === 2 ? parts[1] : undefined;
}
