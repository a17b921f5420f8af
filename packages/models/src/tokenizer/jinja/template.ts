import { checkTemplate } from "./checks.ts";
import { FILTERS, isTest } from "./expression-evaluator.ts";
import { Budget, DEFAULT_LIMITS, type JinjaLimits } from "./limits.ts";
import { parseTemplate } from "./parser.ts";
import { Renderer, type Span } from "./renderer.ts";
import type { Block } from "./syntax-tree.ts";
import { toValue, type Value } from "./values.ts";

export interface JinjaTemplateOptions {
  /** Drop the line break after a block or a comment. Default true, as for chat templates; plain Jinja2 has false. */
  readonly trimBlocks?: boolean;
  /** Drop the white space between the start of a line and a block or a comment. Default true; plain Jinja2 has false. */
  readonly lstripBlocks?: boolean;
  /** Missing values: "lenient" (default) renders them as nothing, "strict" fails on any use but `is defined` and `default`. */
  readonly undefined?: "lenient" | "strict";
  readonly limits?: Partial<JinjaLimits>;
}

export interface JinjaRenderOptions {
  /** What `strftime_now` takes for the time. Default: the clock. */
  readonly now?: () => Date;
}

export interface JinjaRendering {
  readonly text: string;
  /** What `{% generation %}` blocks wrote: `[start, end)` in code points of the text, in the order in which they ended. */
  readonly generationSpans: readonly Span[];
}

/**
 * A template of the Jinja2 language as Transformers' chat templates use it: sandboxed, without access to files or other
 * templates, with loop controls, `{% generation %}`, a `tojson` that escapes nothing for HTML, `raise_exception` and
 * `strftime_now`. Rendering is bounded in steps, text and depth (JinjaLimits). Values behave as Python's do there.
 *
 * Not there: template inheritance and imports, `{% autoescape %}`, the filters `random`, `pprint`, `urlize`, `xmlattr`, `wordwrap`
 * and `filesizeformat`; `safe` and `escape` give plain text.
 */
export class JinjaTemplate {
  readonly #body: Block;
  readonly #strictUndefined: boolean;
  readonly #limits: JinjaLimits;

  /** @throws JinjaError with the line where the template is wrong. */
  constructor(source: string, options: JinjaTemplateOptions = {}) {
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#strictUndefined = options.undefined === "strict";
    this.#body = parseTemplate(source, {
      trimBlocks: options.trimBlocks ?? true,
      lstripBlocks: options.lstripBlocks ?? true,
    });
    checkTemplate(this.#body, { filters: FILTERS, tests: { has: isTest } }, this.#limits.depth);
  }

  /** @throws JinjaError; one that the template raised itself by `raise_exception` has the type "TemplateError". */
  render(variables: Readonly<Record<string, unknown>>, options: JinjaRenderOptions = {}): string {
    return this.renderWithSpans(variables, options).text;
  }

  /** Like `render`, with the spans of generated text. */
  renderWithSpans(variables: Readonly<Record<string, unknown>>, options: JinjaRenderOptions = {}): JinjaRendering {
    const values = new Map<string, Value>();
    for (const [name, value] of Object.entries(variables)) {
      if (value !== undefined) {
        values.set(name, toValue(value));
      }
    }
    const renderer = new Renderer(new Budget(this.#limits), this.#strictUndefined, options.now ?? (() => new Date()));
    const text = renderer.render(this.#body, values);
    return { text, generationSpans: renderer.spans };
  }
}
