import { createInterface, type Interface } from "node:readline/promises";
import { printLine, type Terminal } from "../cli/terminal.ts";
import type { AdapterSwitch } from "./adapter-switch.ts";
import type { Prompt, PromptMessage } from "./prompts.ts";
import type { Answer, RespondOptions } from "./responder.ts";

/** What a conversation talks to. */
export interface ConversationPartner {
  respond(prompts: readonly Prompt[], options: RespondOptions): Promise<Answer[]>;
}

export interface ConversationOptions {
  /** Write turns with the chat template and remember them; else every line is a text to go on with. */
  readonly chat: boolean;
  readonly system: string | null;
  /** Adapters that `/adapter` chooses from. */
  readonly adapters?: AdapterSwitch | undefined;
}

const help = `/reset  forget the conversation
/help   show this
/exit   leave (or Ctrl-D)
Ctrl-C  stop an answer; at the prompt: leave
A line that ends with \\ goes on in the next one.`;

const adapterHelp = "/adapter 2  answer with the second adapter; several numbers, all or none; alone: list them";

/** Asks for lines and streams the answers until the input ends. */
export async function converse(
  partner: ConversationPartner,
  terminal: Terminal,
  { chat, system, adapters }: ConversationOptions,
): Promise<void> {
  const { input, output, colors } = terminal;
  const lines = createInterface({ input, output, prompt: colors.cyan("> "), terminal: output.isTTY === true });
  const opening: readonly PromptMessage[] = system === null ? [] : [{ role: "system", content: system }];
  let messages = opening;
  let answering: AbortController | undefined;
  lines.on("SIGINT", () => {
    if (answering === undefined) lines.close();
    else answering.abort();
  });
  printLine(output, colors.dim(`${chat ? "A conversation" : "Every line is gone on with"}; /help lists commands.`));
  for await (const question of questions(lines)) {
    if (question === "/exit") break;
    if (question === "/help") printLine(output, adapters === undefined ? help : `${adapterHelp}\n${help}`);
    else if (question === "/reset") messages = opening;
    else if (adapters !== undefined && /^\/adapter(\s|$)/.test(question)) switchAdapters(adapters, question, terminal);
    else if (question.startsWith("/"))
      printLine(output, `There is no command ${question.split(" ")[0]}; /help lists them.`);
    else if (question !== "") {
      answering = new AbortController();
      const asked: readonly PromptMessage[] = [...messages, { role: "user", content: question }];
      const answer = await answerAloud(partner, asked, question, chat, terminal, answering.signal);
      if (answer !== undefined) messages = [...asked, { role: "assistant", content: answer }];
      answering = undefined;
    }
    lines.prompt();
  }
  lines.close();
}

function switchAdapters(adapters: AdapterSwitch, command: string, { output }: Terminal): void {
  const words = command.slice("/adapter".length).trim();
  if (words !== "" && !adapters.use(words)) {
    printLine(output, `There is no adapter ${words}. Give numbers from the list, all or none:`);
  }
  adapters.lines.forEach((line) => printLine(output, line));
}

/** Streams one answer; undefined when it was stopped. */
async function answerAloud(
  partner: ConversationPartner,
  messages: readonly PromptMessage[],
  question: string,
  chat: boolean,
  { output, notes, noteColors }: Terminal,
  signal: AbortSignal,
): Promise<string | undefined> {
  const prompt: Prompt = chat ? { kind: "chat", messages } : { kind: "text", text: question };
  try {
    const [answer] = await partner.respond([prompt], { onText: (text) => output.write(text), signal });
    printLine(output);
    return answer?.text;
  } catch (error) {
    if (!signal.aborted) throw error;
    printLine(output);
    printLine(notes, noteColors.dim("(stopped)"));
    return undefined;
  }
}

/** Typed lines; one that ends with a backslash is joined with the next. */
async function* questions(lines: Interface): AsyncGenerator<string> {
  let begun = "";
  lines.prompt();
  for await (const line of lines) {
    if (line.endsWith("\\")) {
      begun += `${line.slice(0, -1)}\n`;
      continue;
    }
    yield begun + line;
    begun = "";
  }
}
