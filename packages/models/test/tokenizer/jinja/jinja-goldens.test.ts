import { readJsonFixture } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import { JinjaError, JinjaTemplate, type JinjaTemplateOptions } from "../../../src/tokenizer/jinja/index.ts";

interface Case {
  readonly template: string;
  /** Rendered with StrictUndefined, without trim_blocks and lstrip_blocks. */
  readonly strict?: boolean;
  readonly text?: string;
  readonly spans?: [number, number][];
  readonly error?: { readonly type: string; readonly message: string };
}

const { cases, variables } = readJsonFixture<{ cases: Case[]; variables: Record<string, unknown> }>(
  "tokenizers",
  "jinja.json",
);

const STRICT: JinjaTemplateOptions = { undefined: "strict", trimBlocks: false, lstripBlocks: false };

/**
 * Jinja2 evaluates expressions of constants when it compiles, and there takes a slice of what has no slices for undefined;
 * with a variable in place of the constant it raises, and so do we.
 */
const FOLDED = /\{\{-? \((?:none|\{'a':1\}|'a b' is undefined)\)\[\d?:\d?\] \}\}/;

/** Messages of these types are a template author's guide (or their own) and equal the reference's to the letter. */
const EXACT_MESSAGES = new Set([
  "TemplateError",
  "UndefinedError",
  "SecurityError",
  "TemplateSyntaxError",
  "TemplateAssertionError",
]);

function withBigIntegers(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => {
      const digits: unknown = typeof value === "object" && value !== null && "int" in value ? value.int : undefined;
      return [name, typeof digits === "string" ? BigInt(digits) : value];
    }),
  );
}

function render(each: Case): unknown {
  try {
    const template = new JinjaTemplate(each.template, each.strict === true ? STRICT : {});
    const { text, generationSpans } = template.renderWithSpans(withBigIntegers(variables), {
      now: () => new Date(2026, 0, 2, 3, 4, 5),
    });
    return { text, spans: generationSpans };
  } catch (error) {
    if (error instanceof JinjaError) {
      return { error: { type: error.type, message: error.message } };
    }
    throw error;
  }
}

function expected(each: Case): unknown {
  if (each.error === undefined) {
    return { text: each.text, spans: each.spans ?? [] };
  }
  const message = EXACT_MESSAGES.has(each.error.type) ? each.error.message : (expect.any(String) as unknown);
  return { error: { type: each.error.type, message } };
}

describe("Jinja2's results", () => {
  it("is a fixture of more than a thousand templates, failing ones among them", () => {
    expect(cases.length).toBeGreaterThan(1200);
    expect(cases.filter((each) => each.error !== undefined).length).toBeGreaterThan(500);
  });

  const folded = cases.filter((each) => FOLDED.test(each.template));
  const usual = cases.filter((each) => !FOLDED.test(each.template));

  it(`hold for ${usual.length} templates: text, generation spans, types of errors`, () => {
    for (const each of usual) {
      expect({ template: each.template, ...(render(each) as object) }).toEqual({
        template: each.template,
        ...(expected(each) as object),
      });
    }
  });

  it(`differ for ${folded.length} that slice a constant without slices`, () => {
    expect(folded).toHaveLength(3);
    for (const each of folded) {
      expect(each.error).toBeUndefined();
      expect(render(each)).toMatchObject({ error: { type: "TypeError" } });
    }
  });
});
