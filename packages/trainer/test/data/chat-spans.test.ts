import { describe, expect, it } from "vitest";
import { assistantSpans, type ChatMessage, type RenderPrefix } from "../../src/data/index.ts";
import { errorOf } from "./fixtures.ts";

const say = (role: string, content: string): ChatMessage => ({ role, content });

/** `<role>content;` for every message. */
const plain: RenderPrefix = (messages, addGenerationPrompt) =>
  messages.map(({ role, content }) => `<${role}>${String(content)};`).join("") +
  (addGenerationPrompt ? "<assistant>" : "");

/** As Qwen3: thinking is left out of all turns before the last question, and the last answer gets an empty one. */
const thinking: RenderPrefix = (messages, addGenerationPrompt) => {
  const question = messages.findLastIndex(({ role }) => role === "user");
  const turns = messages.map(({ role, content }, i) => {
    const parts = String(content).split("</think>");
    const answer = parts.at(-1) ?? "";
    const thought = i > question && role === "assistant" ? `<think>${parts.length > 1 ? parts[0] : ""}</think>` : "";
    return `<${role}>${thought}${answer}<end>\n`;
  });
  return turns.join("") + (addGenerationPrompt ? "<assistant>" : "");
};

/** Begins with the number of messages: no start of a conversation is the start of the whole. */
const counting: RenderPrefix = (messages, prompt) => `${messages.length}: ${plain(messages, prompt)}`;

function trained(messages: ChatMessage[], render: RenderPrefix): string[] {
  const text = render(messages, false);
  return assistantSpans(text, messages, render, {}).map(([start, end]) => text.slice(start, end));
}

describe("assistantSpans", () => {
  const u = say("user", "q");
  const a = say("assistant", "a");

  it.each([
    [[u, a], ["a;"]],
    [
      [say("system", "s"), u, a, say("user", "r"), say("assistant", "b")],
      ["a;", "b;"],
    ],
    [[u, u, a], ["a;"]],
    // As in fms-hf-tuning, a header is masked with the message before it: at the start and behind an answer it is not.
    [
      [a, u, a],
      ["<assistant>a;", "a;"],
    ],
    [[u, a, a, u], ["a;<assistant>a;"]],
    [[u], []],
    [[u, a, u], ["a;"]],
    [[say("user", "x🙂"), say("assistant", "🙂"), u], ["🙂;"]],
  ])("%j", (messages, expected) => expect(trained(messages, plain)).toEqual(expected));

  it("finds answers that a template writes differently in earlier turns", () => {
    const messages = [u, say("assistant", "hm</think>one"), say("user", "r"), say("assistant", "so</think>two"), u, a];
    expect(trained(messages.slice(0, 2), thinking)).toEqual(["<think>hm</think>one<end>\n"]);
    expect(trained(messages, thinking)).toEqual(["one<end>\n", "two<end>\n", "<think></think>a<end>\n"]);
  });

  it("says so where the start of a conversation cannot be found in the whole", async () => {
    const error = await errorOf(() => trained([u, a, u, a], counting));
    expect(error.message).toMatch(
      /^the chat template writes the first 1 messages differently when more follow; put {% generation %}/,
    );
  });
});
