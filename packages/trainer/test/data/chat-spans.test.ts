import { describe, expect, it } from "vitest";
import { assistantSpans, DatasetError, type ChatMessage, type RenderPrefix } from "../../src/data/index.ts";
import { errorOf } from "./fixtures.ts";

const say = (role: string, content: string): ChatMessage => ({ role, content });

/** `<role>content;` for every message. */
const plain: RenderPrefix = (messages, addGenerationPrompt) =>
  messages.map(({ role, content }) => `<${String(role)}>${String(content)};`).join("") +
  (addGenerationPrompt ? "<assistant>" : "");

/** As Qwen3: thinking is left out of all turns before the last question, and the last answer gets an empty one. */
const thinking: RenderPrefix = (messages, addGenerationPrompt) => {
  const question = messages.findLastIndex(({ role }) => role === "user");
  const turns = messages.map(({ role, content }, i) => {
    const parts = String(content).split("</think>");
    const answer = parts.at(-1) ?? "";
    const thought = i > question && role === "assistant" ? `<think>${parts.length > 1 ? parts[0] : ""}</think>` : "";
    return `<${String(role)}>${thought}${answer}<end>\n`;
  });
  return turns.join("") + (addGenerationPrompt ? "<assistant>" : "");
};

/** Begins with the number of its characters: neither the start of a conversation nor what is around an answer can be found. */
const counting: RenderPrefix = (messages, prompt) => {
  const text = plain(messages, prompt);
  return `${text.length}: ${text}`;
};

/** Writes a system prompt of its own. */
const withSystem: RenderPrefix = (messages, prompt) => `<system>be kind;${plain(messages, prompt)}`;

/** And allows no two answers in a row. */
const alternating: RenderPrefix = (messages, prompt) => {
  if (messages.some(({ role }, i) => role === messages[i + 1]?.["role"]))
    throw new DatasetError("roles must alternate");
  return withSystem(messages, prompt);
};

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

  it("trains no prompt that a template writes before an answer that comes first", () => {
    expect(trained([a, u, a], withSystem)).toEqual(["<assistant>a;", "a;"]);
    expect(trained([a, u, a], alternating)).toEqual(["a;", "a;"]);
  });

  it("says so where an answer cannot be found", async () => {
    const error = await errorOf(() => trained([u, a, u, a], counting));
    expect(error.message).toMatch(
      /^the answer of message 1 cannot be found in what the chat template writes; put {% generation %}/,
    );
  });
});
