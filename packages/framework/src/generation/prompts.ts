import { readFileSync } from "node:fs";
import { text as readAll } from "node:stream/consumers";
import type { Terminal } from "../cli/terminal.ts";
import { UsageError } from "../errors.ts";

/** One message of a conversation. */
export interface PromptMessage {
  readonly role: string;
  readonly content: string;
}

/** What is to be answered: a text to go on with, or a conversation for the chat template. */
export type Prompt =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "chat"; readonly messages: readonly PromptMessage[] };

export interface PromptSources {
  /** Texts of `--prompt`. */
  readonly prompts: readonly string[] | null;
  /** `--prompt_file`: jsonl with one prompt a line, or any other file as one prompt. */
  readonly file: string | null;
}

/** Prompts of flags and file, in this order; of standard input when neither is given. */
export async function readPrompts(sources: PromptSources, terminal: Terminal): Promise<Prompt[]> {
  const prompts = (sources.prompts ?? []).map((text): Prompt => ({ kind: "text", text }));
  if (sources.file !== null) prompts.push(...readPromptFile(sources.file));
  if (sources.prompts === null && sources.file === null) {
    const text = (await readAll(terminal.input)).replace(/\r?\n$/, "");
    if (text === "")
      throw new UsageError("there is no prompt: standard input is empty. Use --prompt or --prompt_file.");
    prompts.push({ kind: "text", text });
  }
  return prompts;
}

function readPromptFile(file: string): Prompt[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new UsageError(
      `--prompt_file ${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      {
        cause: error,
      },
    );
  }
  if (!/\.jsonl$/i.test(file)) return [{ kind: "text", text: text.replace(/\r?\n$/, "") }];
  const prompts = text
    .split("\n")
    .flatMap((line, index) => (line.trim() === "" ? [] : [parsePromptLine(line, `${file}:${index + 1}`)]));
  if (prompts.length === 0) throw new UsageError(`--prompt_file ${file} has no line.`);
  return prompts;
}

const expected = 'a text, {"prompt": text} or {"messages": [{"role": …, "content": …}]}';

function parsePromptLine(line: string, where: string): Prompt {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new UsageError(`${where}: not JSON: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
  if (typeof value === "string") return { kind: "text", text: value };
  if (typeof value === "object" && value !== null) {
    if ("prompt" in value && typeof value.prompt === "string") return { kind: "text", text: value.prompt };
    if ("messages" in value && Array.isArray(value.messages) && value.messages.every(isMessage)) {
      return { kind: "chat", messages: withoutAnswer(value.messages) };
    }
  }
  throw new UsageError(`${where}: expected ${expected}; found ${line.slice(0, 80)}`);
}

function isMessage(value: unknown): value is PromptMessage {
  return (
    typeof value === "object" &&
    value !== null &&
    "role" in value &&
    typeof value.role === "string" &&
    "content" in value &&
    typeof value.content === "string"
  );
}

/** A line of a training set ends with the answer that is asked for here. */
function withoutAnswer(messages: readonly PromptMessage[]): readonly PromptMessage[] {
  return messages.at(-1)?.role === "assistant" ? messages.slice(0, -1) : messages;
}
