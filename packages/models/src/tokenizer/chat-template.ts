/** Chat templates: where they come from, what they see, and what they render. */
import type { JsonObject } from "./definition/place.ts";
import { describeFound, isObject, listAt, objectAt, Place, textAt } from "./definition/place.ts";
import { ChatTemplateError } from "./errors.ts";
import { CONFIG_FILE, pathOf, TEMPLATE_FILE, TEMPLATE_FOLDER, textOfFile, type TokenizerFiles } from "./files.ts";
import { JinjaError, JinjaTemplate, type Span } from "./jinja/index.ts";
import { strip } from "./jinja/strings.ts";

/** A message: its role, its content (text, or parts), and whatever else its template reads (`tool_calls`, `name`, …). */
export type ChatMessage = Readonly<Record<string, unknown>>;

export interface ChatTemplateOptions {
  /** JSON schemas of tools, as the template expects them. Their presence chooses the template `tool_use` where there is one. */
  readonly tools?: readonly Readonly<Record<string, unknown>>[] | undefined;
  readonly documents?: readonly Readonly<Record<string, unknown>>[] | undefined;
  /** Ask for the header of a new assistant message at the end. */
  readonly addGenerationPrompt?: boolean;
  /** Leave the last message open, to be continued: true for its `content`, or the name of another field. */
  readonly continueFinalMessage?: boolean | string;
  /** A template, or the name of one of the tokenizer's templates, in place of its own choice. */
  readonly chatTemplate?: string | undefined;
  /** Further variables that the template reads, by their names there (`enable_thinking`, `date_string`). */
  readonly templateKwargs?: Readonly<Record<string, unknown>>;
  /** What `strftime_now` takes for the time; default: the clock. */
  readonly now?: () => Date;
}

export interface RenderedChat {
  readonly text: string;
  /** `[start, end)` of the text that `{% generation %}` blocks wrote, in Unicode code points. */
  readonly generationSpans: readonly Span[];
}

/** A tokenizer's templates by name; a single one is called "default". */
export type ChatTemplates = ReadonlyMap<string, string>;

/** Template files go before the configuration, which holds one template or a list of named ones. */
export function readChatTemplates(files: TokenizerFiles, config: JsonObject): ChatTemplates {
  const templates = new Map<string, string>();
  const main = textOfFile(files, TEMPLATE_FILE);
  if (main !== undefined) {
    templates.set("default", main);
  }
  for (const name of files.bytes.keys()) {
    if (name.startsWith(`${TEMPLATE_FOLDER}/`)) {
      templates.set(name.slice(TEMPLATE_FOLDER.length + 1, -".jinja".length), textOfFile(files, name) ?? "");
    }
  }
  return templates.size > 0
    ? templates
    : configuredTemplates(config["chat_template"], new Place(pathOf(files, CONFIG_FILE)).at("chat_template"));
}

function configuredTemplates(value: unknown, place: Place): ChatTemplates {
  if (value === undefined || value === null) {
    return new Map();
  }
  if (typeof value === "string") {
    return new Map([["default", value]]);
  }
  if (isObject(value)) {
    return new Map(Object.entries(value).map(([name, template]) => [name, textAt(template, place.at(name))]));
  }
  if (!Array.isArray(value)) {
    place.fail(`expected a template, or a list of {"name", "template"}, found ${describeFound(value)}`);
  }
  return new Map(
    listAt(value, place).map((entry, index) => {
      const named = objectAt(entry, place.at(index));
      return [
        textAt(named["name"], place.at(index).at("name")),
        textAt(named["template"], place.at(index).at("template")),
      ];
    }),
  );
}

/** The template that a call means: its own, one by name, `tool_use` for tools, else the default one. */
export function chooseTemplate(templates: ChatTemplates, options: ChatTemplateOptions): string {
  if (options.chatTemplate !== undefined) {
    return templates.get(options.chatTemplate) ?? options.chatTemplate;
  }
  const chosen = (options.tools === undefined ? undefined : templates.get("tool_use")) ?? templates.get("default");
  if (chosen !== undefined) {
    return chosen;
  }
  throw new ChatTemplateError(
    "ValueError",
    templates.size === 0
      ? "Cannot use chat template functions because tokenizer.chat_template is not set and no template argument was passed! For information about writing templates and setting the tokenizer.chat_template attribute, please see the documentation at https://huggingface.co/docs/transformers/main/en/chat_templating"
      : `This model has multiple chat templates with no default specified! Please either pass a chat template or the name of the template you wish to use to the \`chat_template\` argument. Available template names are [${[
          ...templates.keys(),
        ]
          .sort()
          .map((name) => `'${name}'`)
          .join(", ")}].`,
  );
}

/** Names under which a message's reasoning is passed; the first is the one that templates read. */
const REASONING_FIELDS = ["reasoning_content", "thinking", "reasoning"] as const;

/** Marks the end of a message that is to be continued; the blank shows whether the template strips. */
const TAG = "CONTINUE_FINAL_MESSAGE_TAG ";

const compiled = new Map<string, JinjaTemplate>();
/** Templates kept compiled: a run uses one or two. */
const KEPT = 8;

function compile(source: string): JinjaTemplate {
  const known = compiled.get(source);
  if (known !== undefined) {
    return known;
  }
  const template = new JinjaTemplate(source);
  if (compiled.size >= KEPT) {
    compiled.clear();
  }
  compiled.set(source, template);
  return template;
}

/**
 * Renders a conversation as `apply_chat_template` of Transformers 5 does: fields that are null are left out, a message's
 * reasoning is offered under its several names, and every template sees `messages`, `tools`, `documents`, `add_generation_prompt`
 * and the special tokens.
 *
 * @throws ChatTemplateError whose `type` is the reference's exception: "TemplateError" from the template itself, "TemplateSyntaxError",
 * "UndefinedError", "ValueError" for options that do not fit, …
 */
export function renderChat(
  messages: readonly ChatMessage[],
  template: string,
  options: ChatTemplateOptions,
  specialTokens: ReadonlyMap<string, string>,
): RenderedChat {
  const chat = prepared(messages);
  checkOptions(options);
  const field = continuedField(options, chat, template);
  const opened = field === undefined ? chat : openFinalMessage(chat, field);
  const rendered = run(template, options.now, {
    ...Object.fromEntries(specialTokens),
    ...options.templateKwargs,
    messages: opened,
    tools: options.tools ?? null,
    documents: options.documents ?? null,
    add_generation_prompt: options.addGenerationPrompt ?? false,
  });
  return field === undefined
    ? rendered
    : { text: cutAtTag(rendered.text, finalText(chat, field)), generationSpans: [] };
}

function run(
  source: string,
  now: (() => Date) | undefined,
  variables: Readonly<Record<string, unknown>>,
): RenderedChat {
  try {
    return compile(source).renderWithSpans(variables, now === undefined ? {} : { now });
  } catch (error) {
    if (error instanceof JinjaError) {
      throw new ChatTemplateError(error.type, error.message, { line: error.line, cause: error });
    }
    throw error;
  }
}

/** Variables that have options of their own. */
const RESERVED = ["messages", "tools", "documents", "add_generation_prompt"];

function checkOptions(options: ChatTemplateOptions): void {
  const taken = RESERVED.find((name) => options.templateKwargs !== undefined && name in options.templateKwargs);
  if (taken !== undefined) {
    throw new ChatTemplateError(
      "TypeError",
      `templateKwargs cannot hold "${taken}", which has an argument or option of its own`,
    );
  }
  if (!areObjects(options.tools)) {
    throw valueError("tools must be a list of JSON schemas (objects)");
  }
  if (!areObjects(options.documents)) {
    throw new ChatTemplateError("TypeError", "Documents should be a list of dicts with 'title' and 'text' keys!");
  }
}

function areObjects(list: unknown): boolean {
  return list === undefined || (Array.isArray(list) && list.every(isObject));
}

type PreparedMessage = Record<string, unknown>;

function prepared(messages: readonly ChatMessage[]): PreparedMessage[] {
  if (!Array.isArray(messages) || messages.length === 0) {
    throw new ChatTemplateError(
      "ValueError",
      "Cannot apply chat template to an empty conversation. Provide at least one message.",
    );
  }
  return messages.map((message: unknown, index) => {
    if (!isObject(message)) {
      throw new ChatTemplateError(
        "TypeError",
        `message ${index} is ${describeFound(message)}; a message is an object with role and content`,
      );
    }
    const present = Object.fromEntries(
      Object.entries(message).filter(([, value]) => value !== null && value !== undefined),
    );
    const reasoning = REASONING_FIELDS.map((field) => present[field]).find((value) => value !== undefined);
    return reasoning === undefined ? present : { thinking: reasoning, ...present, reasoning_content: reasoning };
  });
}

function valueError(detail: string): ChatTemplateError {
  return new ChatTemplateError("ValueError", detail);
}

/** The field of the last message that stays open, after the checks of the reference. */
function continuedField(
  options: ChatTemplateOptions,
  chat: readonly PreparedMessage[],
  template: string,
): string | undefined {
  const wanted = options.continueFinalMessage;
  if (wanted === undefined || wanted === false || wanted === "") {
    return undefined;
  }
  if (options.addGenerationPrompt === true) {
    throw valueError(
      "continue_final_message and add_generation_prompt are not compatible. Use continue_final_message when you want the model to continue the final message, and add_generation_prompt when you want to add a header that will prompt it to start a new assistant message instead.",
    );
  }
  const field = wanted === true ? "content" : wanted;
  if (chat.at(-1)?.[field] === undefined) {
    throw valueError(`continue_final_message is set but the final message has no "${field}" to continue!`);
  }
  if (!taggedFields(chat, field).some((name) => template.includes(name))) {
    throw valueError(
      `continue_final_message is set to "${field}" but this is not an accepted field in the chat_template`,
    );
  }
  return field;
}

/** Reasoning is there under several names; all that hold the same text are marked. */
function taggedFields(chat: readonly PreparedMessage[], field: string): readonly string[] {
  const last = chat.at(-1);
  return REASONING_FIELDS.some((name) => name === field)
    ? REASONING_FIELDS.filter((name) => last?.[name] === last?.[field])
    : [field];
}

function lastTextPart(value: unknown): { readonly parts: readonly unknown[]; readonly index: number } | undefined {
  if (!Array.isArray(value)) {
    return undefined;
  }
  const index = value.findLastIndex((part: unknown) => isObject(part) && "text" in part);
  if (index === -1) {
    throw valueError("continue_final_message is set but we could not find any text to continue in the final message!");
  }
  return { parts: value, index };
}

/** The text that is continued: the field itself, or its last text part. */
function finalText(chat: readonly PreparedMessage[], field: string): string {
  const value = chat.at(-1)?.[field];
  const last = lastTextPart(value);
  const part = last?.parts[last.index];
  const text = isObject(part) ? part["text"] : value;
  if (typeof text !== "string") {
    throw new ChatTemplateError(
      "TypeError",
      `the final message's "${field}" is ${describeFound(text)}; only text can be continued`,
    );
  }
  return text;
}

function openFinalMessage(chat: readonly PreparedMessage[], field: string): PreparedMessage[] {
  const last = { ...chat.at(-1) };
  const tagged = finalText(chat, field) + TAG;
  const place = lastTextPart(last[field]);
  if (place === undefined) {
    for (const name of taggedFields(chat, field)) {
      last[name] = tagged;
    }
  } else {
    last[field] = place.parts.map((part, index) =>
      index === place.index && isObject(part) ? { ...part, text: tagged } : part,
    );
  }
  return [...chat.slice(0, -1), last];
}

/** Cuts the text where the open message ends; where the template strips, trailing white space goes too. */
function cutAtTag(text: string, final: string): string {
  const at = text.lastIndexOf(TAG.trim());
  const message = strip(final, undefined, "both");
  if (at === -1 || !text.includes(message)) {
    throw valueError(
      "continue_final_message is set but the final message does not appear in the chat after applying the chat template! This can happen if the chat template deletes portions of the final message. Please verify the chat template and final message in your chat to ensure they are compatible." +
        `Final message to continue: ${message}\nRendered chat:\n${text}`,
    );
  }
  const kept = text.slice(0, at);
  return text.startsWith(TAG, at) ? kept : strip(kept, undefined, "right");
}
