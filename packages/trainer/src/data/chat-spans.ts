import { DatasetError, type DataLocation } from "./errors.ts";
import type { KeySpan } from "./masking.ts";
import type { ChatMessage } from "./tokenizer.ts";

/** Renders the first messages of a conversation, with or without the header of an answer behind them. */
export type RenderPrefix = (messages: readonly ChatMessage[], addGenerationPrompt: boolean) => string;

/**
 * What the assistant wrote, in UTF-16 positions of the rendered conversation, for templates without `{% generation %}`: prefixes of
 * the conversation are rendered, and everything is masked that does not come with an assistant's message. The header of an answer is
 * masked with the message before it (fms-hf-tuning's `tokenize_and_apply_chat_template_with_masking`); an answer that comes first
 * or behind another keeps its header. Where a template writes the start of a conversation differently once it goes on (thinking left
 * out of earlier turns, another line break, a system prompt in the last turn), the border is found by the answer's own text.
 *
 * @param text the whole conversation, rendered
 * @throws DatasetError where an answer cannot be found in the text
 */
export function assistantSpans(
  text: string,
  messages: readonly ChatMessage[],
  render: RenderPrefix,
  where: DataLocation,
): KeySpan[] {
  const spans: KeySpan[] = [];
  for (let first = 0; first < messages.length; first++) {
    if (messages[first]?.["role"] !== "assistant") continue;
    let behind = first + 1;
    while (behind < messages.length && messages[behind]?.["role"] === "assistant") behind += 1;
    const start = first === 0 ? firstHeader(text, messages, render) : (prefixLength(first, true) ?? startOf(first));
    const end = behind === messages.length ? text.length : (prefixLength(behind, false) ?? endOf(behind - 1));
    if (start === undefined || end === undefined || start > end) {
      throw new DatasetError(`the answer of message ${first} cannot be found in what the chat template writes`, where, {
        hint: "put {% generation %} … {% endgeneration %} around the assistant's text in the chat template",
      });
    }
    spans.push([start, end]);
    first = behind;
  }
  return spans;

  /** Length of the first `count` messages, if the text begins with them. */
  function prefixLength(count: number, addGenerationPrompt: boolean): number | undefined {
    const prefix = render(messages.slice(0, count), addGenerationPrompt);
    return text.startsWith(prefix) ? prefix.length : undefined;
  }

  function startOf(index: number): number | undefined {
    const { before } = withPlaceholder(messages, index, render);
    return before !== undefined && text.startsWith(before) ? before.length : undefined;
  }

  /** What closes an answer is learnt from the conversation up to it; what follows is the same whatever the answer. */
  function endOf(index: number): number | undefined {
    const { after: closing } = withPlaceholder(messages.slice(0, index + 1), index, render);
    const { after } = withPlaceholder(messages, index, render);
    if (closing === undefined || after?.startsWith(closing) !== true) return undefined;
    const rest = after.slice(closing.length);
    return text.endsWith(rest) ? text.length - rest.length : undefined;
  }
}

/**
 * Where the header of an answer begins that comes first, behind what a template writes before all messages: a header is what stands
 * between an answer and the next. A template that allows no two answers in a row leaves the header untrained.
 */
function firstHeader(text: string, messages: readonly ChatMessage[], render: RenderPrefix): number | undefined {
  const { before } = withPlaceholder(messages, 0, render);
  if (before === undefined || !text.startsWith(before)) return undefined;
  const [answer] = messages;
  if (answer === undefined) return undefined;
  let header = "";
  try {
    const one = render([answer], false);
    const two = withPlaceholder([answer, answer], 1, render).before;
    if (two?.startsWith(one) === true) header = two.slice(one.length);
  } catch (error) {
    if (!(error instanceof DatasetError)) throw error;
  }
  return before.length - (before.endsWith(header) ? header.length : 0);
}

/** Stands for an answer; templates that look into answers (for `</think>`) find nothing in it. */
const PLACEHOLDER = "\uE000answer\uE000";

/** What a template writes before and behind an answer; nothing where it does not write the answer exactly once. */
function withPlaceholder(
  messages: readonly ChatMessage[],
  index: number,
  render: RenderPrefix,
): { readonly before?: string; readonly after?: string } {
  const text = render(messages.with(index, { ...messages[index], content: PLACEHOLDER }), false);
  const [before, after, more] = text.split(PLACEHOLDER);
  return before === undefined || after === undefined || more !== undefined ? {} : { before, after };
}
