import { ModelsError } from "../errors.ts";

/** A tokenizer file, or a call to a tokenizer, that cannot be used: the message names the file and the key, or the argument. */
export class TokenizerError extends ModelsError {
  override name = "TokenizerError";
}

/**
 * A chat template that does not parse or fails while it renders, or a conversation that it does not accept.
 * `type` is the exception's name in the reference (Jinja2 under Transformers), so that callers can tell a template's own
 * `raise_exception` ("TemplateError") from a fault of the template.
 */
export class ChatTemplateError extends TokenizerError {
  override name = "ChatTemplateError";
  readonly type: string;
  /** The exception's own text, without the place. */
  readonly detail: string;
  /** Line of the template, from 1, where it is known. */
  readonly line: number | undefined;

  constructor(
    type: string,
    detail: string,
    options: { line?: number | undefined; template?: string; cause?: unknown } = {},
  ) {
    const place = options.line === undefined ? "" : `, line ${options.line}`;
    super(`${options.template ?? "Chat template"}${place}: ${detail} (${type})`, { cause: options.cause });
    this.type = type;
    this.detail = detail;
    this.line = options.line;
  }
}
