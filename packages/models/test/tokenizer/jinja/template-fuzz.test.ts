import { readJsonFixture } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import { JinjaError, JinjaTemplate } from "../../../src/tokenizer/jinja/index.ts";
import { numbers, pick } from "../mutations.ts";

/** Set FMS_ACCEL_FUZZ to try that many mutated templates, FMS_ACCEL_FUZZ_SEED to start at another one. */
const COUNT = Number(process.env["FMS_ACCEL_FUZZ"] ?? 300);
const FIRST = Number(process.env["FMS_ACCEL_FUZZ_SEED"] ?? 1);

const chat = readJsonFixture<{
  templates: Record<string, string>;
  conversations: Record<string, unknown>;
  tools: unknown;
}>("data", "chat.json");
const jinja = readJsonFixture<{ cases: { template: string }[]; variables: Record<string, unknown> }>(
  "tokenizers",
  "jinja.json",
);

const TEMPLATES = [...Object.values(chat.templates), ...jinja.cases.slice(0, 400).map((each) => each.template)];
const CONVERSATIONS = Object.values(chat.conversations);

const JUNK = [
  "",
  "{",
  "}",
  "{{",
  "}}",
  "{%",
  "%}",
  "{#",
  "#}",
  "-",
  "+",
  "|",
  ".",
  ",",
  "(",
  ")",
  "[",
  "]",
  "'",
  '"',
  "\\",
  "~",
  "*",
  "**",
  "/",
  "//",
  "%",
  "=",
  "==",
  "<",
  " is ",
  " not ",
  " in ",
  " if ",
  " else ",
  "{% for x in messages %}",
  "{% endfor %}",
  "{% if x %}",
  "{% endif %}",
  "{% set x = 1 %}",
  "{% generation %}",
  "{% endgeneration %}",
  "{% macro m() %}",
  "{% endmacro %}",
  "{% raw %}",
  "{% endraw %}",
  "{% break %}",
  "none",
  "true",
  "0",
  "1",
  "-1",
  "2.5",
  "1e999",
  "'\\u'",
  "'\\x4'",
  "loop",
  "messages",
  "[::-1]",
  "[1:]",
  ".items()",
  ".split()",
  "|list",
  "|tojson",
  "|map('upper')",
  "|sort",
  "|join",
  "|int",
  "|format(1)",
  "|groupby(0)",
  "|batch(0)",
  "|slice(0)",
  "\n",
  " ",
  "é",
  "🙂",
  "\u0000",
  "\ud800",
];

const VALUES = [
  "messages",
  "messages[0]",
  "s",
  "u",
  "l",
  "d",
  "recs",
  "n",
  "f",
  "none",
  "nothing",
  "tree",
  "loop",
  "'%s'",
  "[1, 'a']",
  "{'a': 1}",
  "range(3)",
  "(1, 2)",
];
const OPERATIONS = [
  "|list",
  "|tojson",
  "|upper",
  "|join('-')",
  "|length",
  "|sort",
  "|first",
  "|last",
  "|map('string')|list",
  "|select|list",
  "|groupby('n')|list",
  "|batch(2)|list",
  "|sum",
  "|max",
  "|indent",
  "|truncate(3)",
  "|round",
  "|int",
  "|format(1)",
  "|default('x')",
  "|unique|list",
  "|dictsort",
  ".items()",
  ".split()",
  ".content",
  "[0]",
  "[-1]",
  "[1:]",
  "[::-1]",
  " is string",
  " is not none",
  " + 1",
  " ~ 1",
  " * 2",
  " % 2",
  " == 1",
  " in l",
  " < 3",
];

/** A whole statement or expression that parses. */
function snippet(random: () => number): string {
  const expression = pick(random, VALUES) + pick(random, OPERATIONS) + (random() < 0.3 ? pick(random, OPERATIONS) : "");
  return pick(random, [
    `{{ ${expression} }}`,
    `{%- if ${expression} -%}a{% else %}b{% endif %}`,
    `{% for x in ${expression} %}{{ x }}{{ loop.last }}{% endfor %}`,
    `{% set q = ${expression} %}{{ q }}`,
    `{% generation %}{{ ${expression} }}{% endgeneration %}`,
    `{% filter upper %}{{ ${expression} }}{% endfilter %}`,
  ]);
}

/** A template with whole snippets put in, or with stretches replaced, doubled or swapped with stretches of another. */
function mutated(random: () => number): string {
  let text = pick(random, TEMPLATES);
  if (random() < 0.6) {
    const ends = [0, ...[...text.matchAll(/[%}]\}/g)].map((match) => match.index + 2)];
    const at = pick(random, ends);
    return text.slice(0, at) + snippet(random) + text.slice(at);
  }
  for (let count = 1 + Math.floor(random() * 2); count > 0; count--) {
    const at = Math.floor(random() * text.length);
    const length = Math.floor(random() * 10);
    const other = pick(random, TEMPLATES);
    const from = Math.floor(random() * other.length);
    const insert = random() < 0.8 ? pick(random, JUNK) : other.slice(from, from + Math.floor(random() * 60));
    text = text.slice(0, at) + insert + text.slice(at + length);
  }
  return text;
}

describe("mutated templates", () => {
  it(`${COUNT} of them render or fail with the engine's own error`, { timeout: 60_000 + COUNT * 200 }, () => {
    let rendered = 0;
    for (let seed = FIRST; seed < FIRST + COUNT; seed++) {
      const random = numbers(seed);
      const source = mutated(random);
      try {
        const template = new JinjaTemplate(source, {
          limits: { steps: 200_000 },
          undefined: random() < 0.3 ? "strict" : "lenient",
        });
        const { text, generationSpans } = template.renderWithSpans({
          ...jinja.variables,
          messages: pick(random, CONVERSATIONS),
          tools: chat.tools,
          eos_token: "</s>",
        });
        rendered++;
        const length = Array.from(text).length;
        expect(generationSpans.every(([start, end]) => start >= 0 && start <= end && start <= length)).toBe(true);
      } catch (error) {
        if (!(error instanceof JinjaError)) {
          throw new Error(`seed ${seed}: ${JSON.stringify(source)}: ${String(error)}`, { cause: error });
        }
      }
    }
    if (COUNT >= 100) {
      expect(rendered).toBeGreaterThan(COUNT / 10);
      expect(rendered).toBeLessThan((COUNT * 9) / 10);
    }
  });
});
