import { argumentTables, modelDevice } from "@fms-accel/trainer";
import type { GenerationOptions } from "@fms-accel/models";
import type { CommandDefinition } from "../cli/command-definition.ts";
import { selectRows } from "../cli/flag-table.ts";
import { printLine, type Terminal } from "../cli/terminal.ts";
import { UsageError } from "../errors.ts";
import { converse } from "../generation/conversation.ts";
import { adapterSwitch } from "../generation/adapter-switch.ts";
import { adapterChoice, adapterTable } from "./adapter-flags.ts";
import { modelFolder, readInvocation } from "./invocation-values.ts";
import { dtypeRow, loadForUse, modelRows } from "./load-for-use.ts";
import { readPrompts, type Prompt } from "../generation/prompts.ts";
import { Responder, type Answer } from "../generation/responder.ts";

const promptTable = [
  {
    name: "prompt",
    type: "strings",
    default: null,
    help: "Texts to answer. Without prompts: standard input, or a conversation.",
  },
  {
    name: "prompt_file",
    type: "string",
    default: null,
    help: "A text file with one prompt, or jsonl with one a line.",
  },
  {
    name: "chat",
    type: "boolean",
    default: null,
    help: "Write prompts with the chat template (default in a conversation).",
  },
  { name: "system", type: "string", default: null, help: "System message; implies --chat." },
  { name: "json", type: "boolean", default: false, help: "One JSON object a prompt and line." },
  {
    name: "batch_size",
    type: "integer",
    default: 8,
    minimum: 1,
    help: "Prompts answered together when there are several.",
  },
] as const;

const generationTable = [
  {
    name: "max_new_tokens",
    type: "integer",
    default: null,
    minimum: 1,
    help: "Longest answer in tokens; by default 256, or what the model has room for.",
  },
  { name: "min_new_tokens", type: "integer", default: null, minimum: 0, help: "Shortest answer in tokens." },
  {
    name: "do_sample",
    type: "boolean",
    default: null,
    help: "Draw tokens by their probability; else take the most probable one.",
  },
  {
    name: "temperature",
    type: "number",
    default: null,
    above: 0,
    help: "Divides the logits; above 1 more varied, below 1 less.",
  },
  {
    name: "top_k",
    type: "integer",
    default: null,
    minimum: 0,
    help: "Draw from the k most probable tokens; 0 for all.",
  },
  {
    name: "top_p",
    type: "number",
    default: null,
    minimum: 0,
    maximum: 1,
    help: "Draw from the most probable tokens that reach this sum.",
  },
  {
    name: "min_p",
    type: "number",
    default: null,
    minimum: 0,
    maximum: 1,
    help: "Draw from tokens at least this probable, relative to the best.",
  },
  {
    name: "repetition_penalty",
    type: "number",
    default: null,
    above: 0,
    help: "Above 1: tokens that occurred become less likely.",
  },
  { name: "stop_strings", type: "strings", default: null, help: "Any of these texts ends an answer." },
  { name: "seed", type: "integer", default: 42, minimum: 0, help: "Seed of sampling." },
] as const;

const ownTable = [...promptTable, ...generationTable, dtypeRow, ...adapterTable] as const;
const samplingFlags = ["temperature", "topK", "topP", "minP"] as const;

export const generateCommand: CommandDefinition = {
  positionals: [["[model]", "folder of a Hugging Face checkpoint"]],
  groups: [
    {
      heading: "Model",
      rows: [
        ...modelRows,
        ...selectRows(argumentTables.model, ["device"]),
        ...selectRows(argumentTables.data, ["chat_template"]),
      ],
    },
    { heading: "Prompts", rows: promptTable },
    { heading: "Generation", rows: generationTable },
  ],
  examples: [
    'fms-accel generate ./SmolLM-135M --adapter out --prompt "Summarise: …"',
    'fms-accel generate ./SmolLM-135M --adapter one --adapter two --adapter_weights 0.7 0.3 --prompt "…"',
    "fms-accel generate ./SmolLM-135M --chat < question.txt",
    "fms-accel generate ./SmolLM-135M            (a conversation)",
  ],

  async run(invocation, terminal): Promise<number> {
    const { own, shared } = readInvocation(ownTable, invocation);
    const { model, data } = shared;
    const folder = modelFolder(invocation, model.modelNameOrPath);
    const interactive = own.prompt === null && own.promptFile === null && terminal.input.isTTY === true;
    if (interactive && own.json)
      throw new UsageError("--json needs prompts: --prompt, --prompt_file or standard input.");
    const prompts = interactive ? [] : await readPrompts({ prompts: own.prompt, file: own.promptFile }, terminal);
    const adapters = adapterChoice(own);
    const loaded = await loadForUse({
      ...model,
      adapters,
      folder,
      dtype: own.torchDtype,
      chatTemplate: data.chatTemplate,
      terminal,
    });
    const options = generationOptions(own, terminal);
    const responder = new Responder(loaded.model, loaded.tokenizer, options, {
      seed: own.seed,
      device: modelDevice(loaded.model),
    });
    const chat = own.chat ?? (own.system !== null || (interactive && responder.hasChatTemplate));
    if (interactive) {
      const choice = adapterSwitch(loaded.model, adapters.folders);
      await converse(responder, terminal, { chat, system: own.system, adapters: choice });
    } else
      await answerAll(responder, chat ? prompts.map((prompt) => asChat(prompt, own.system)) : prompts, own, terminal);
    return 0;
  },
};

function generationOptions(
  own: { readonly [Name in keyof GenerationOptions]?: GenerationOptions[Name] | null },
  { notes, noteColors }: Terminal,
): GenerationOptions {
  const { maxNewTokens, minNewTokens, doSample, temperature, topK, topP, minP, repetitionPenalty, stopStrings } = own;
  const given = samplingFlags.filter((name) => own[name] !== null && own[name] !== undefined);
  const drawn = doSample ?? (given.length > 0 ? true : null);
  if (doSample === false && given.length > 0) {
    throw new UsageError(`${given.join(", ")} have no effect with --do_sample false. Leave one of them out.`);
  }
  if (doSample === null && given.length > 0) {
    printLine(
      notes,
      noteColors.dim("Tokens are drawn by their probability, as the flags for sampling ask (--do_sample)."),
    );
  }
  return { maxNewTokens, minNewTokens, doSample: drawn, temperature, topK, topP, minP, repetitionPenalty, stopStrings };
}

function asChat(prompt: Prompt, system: string | null): Prompt {
  const messages = prompt.kind === "chat" ? prompt.messages : [{ role: "user", content: prompt.text }];
  if (system === null || messages[0]?.role === "system") return { kind: "chat", messages };
  return { kind: "chat", messages: [{ role: "system", content: system }, ...messages] };
}

async function answerAll(
  responder: Responder,
  prompts: readonly Prompt[],
  { json, batchSize }: { readonly json: boolean; readonly batchSize: number },
  { output, colors }: Terminal,
): Promise<void> {
  if (prompts.length === 1 && !json) {
    await responder.respond(prompts, { onText: (text) => output.write(text) });
    printLine(output);
    return;
  }
  for (let first = 0; first < prompts.length; first += batchSize) {
    const batch = prompts.slice(first, first + batchSize);
    const answers = await responder.respond(batch);
    for (const [row, answer] of answers.entries()) {
      if (json) printLine(output, JSON.stringify(jsonAnswer(answer)));
      else printLine(output, `${colors.bold(`${first + row + 1}. ${lastWords(batch[row])}`)}\n${answer.text}\n`);
    }
  }
}

function jsonAnswer({ prompt, text, promptTokens, newTokens, finishReason }: Answer): Record<string, unknown> {
  return { prompt, text, prompt_tokens: promptTokens, new_tokens: newTokens, finish_reason: finishReason };
}

/** What a prompt asks, in one line. */
function lastWords(prompt: Prompt | undefined): string {
  const text = prompt?.kind === "chat" ? (prompt.messages.at(-1)?.content ?? "") : (prompt?.text ?? "");
  const line = text.replaceAll(/\s+/g, " ").trim();
  return line.length <= 80 ? line : `…${line.slice(-79)}`;
}
