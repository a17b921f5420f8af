/** Names of the exceptions that a template can end with, as Jinja2 and Python call them; "LimitError" is ours (limits.ts). */
export type JinjaErrorType =
  | "TemplateError"
  | "TemplateSyntaxError"
  | "TemplateAssertionError"
  | "TemplateRuntimeError"
  | "UndefinedError"
  | "SecurityError"
  | "FilterArgumentError"
  | "SyntaxError"
  | "TypeError"
  | "AttributeError"
  | "ValueError"
  | "KeyError"
  | "IndexError"
  | "ZeroDivisionError"
  | "OverflowError"
  | "AssertionError"
  | "LimitError";

/** Any failure of parsing or rendering. The message is the reference's own where a template's author could have seen it there. */
export class JinjaError extends Error {
  override name = "JinjaError";
  readonly type: JinjaErrorType;
  /** Line of the template, from 1; set where the error passes a statement whose line is known. */
  line: number | undefined;

  constructor(type: JinjaErrorType, message: string, line?: number) {
    super(message);
    this.type = type;
    this.line = line;
  }
}
