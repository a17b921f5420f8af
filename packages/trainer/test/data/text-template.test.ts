import { describe, expect, it } from "vitest";
import { TextTemplate, unescapeTemplate } from "../../src/data/text-template.ts";

describe("unescapeTemplate", () => {
  it.each([
    ["\\n### Response:", "\n### Response:"],
    ["\n### Response:", "\n### Response:"],
    ["a\\tb\\\\n\\x41\\u00fc\\U0001F642", "a\tb\\nAü🙂"],
    ["### Réponse\\n数学🙂", "### Réponse\n数学🙂"],
    ["\\q \\x4 \\uZZZZ \\UFFFFFFFF \\", "\\q \\x4 \\uZZZZ \\UFFFFFFFF \\"],
  ])("%j", (text, expected) => expect(unescapeTemplate(text)).toBe(expected));
});

describe("TextTemplate", () => {
  const row = {
    instruction: "Do",
    input: "",
    n: 3,
    flag: true,
    none: null,
    "a-b": "hyphen",
    namespace: "own",
    range: "r",
    list: [1, 2],
  };
  const render = (source: string): string =>
    new TextTemplate(source, { eos_token: "</s>", n: "x" }).render(row, { file: "f", row: 1 });

  it.each([
    ["{{ instruction }}{{eos_token}}", "Do</s>"],
    ["{{ element['a-b'] }} {{ element.input }}|", "hyphen |"],
    ["{{ n }} {{ namespace }} {{ range }}", "3 own r"],
    ["{% if input %}x{% else %}y{% endif %}", "y"],
    ["{{ missing is defined }} {{ element.zz is not defined }} {{ missing | default('d') }}", "False True d"],
    ["{% for x in list %}{{ x }},{% endfor %}", "1,2,"],
    ["  {% if true %}\n  a\n{% endif %}", "  \n  a\n"],
    ["{% set x = 'a' %}{{ x ~ instruction | upper }}", "aDO"],
  ])("%j", (source, expected) => expect(render(source)).toBe(expected));

  it.each([
    [
      "{{ missing }}",
      /^f, row 1: data_formatter_template cannot be rendered \('missing' is undefined\); the row has "instruction"/,
    ],
    ["{{ element['zz'] }}", /'dict object' has no attribute 'zz'/],
    ["{{ missing.a }}", /'missing' is undefined/],
    ["{% if missing %}{% endif %}", /'missing' is undefined/],
    ["{{ ''.__class__.__mro__ }}", /access to attribute '__class__' of 'str' object is unsafe/],
    ["{{ instruction.constructor }}", /'str object' has no attribute 'constructor'/],
    ["{{ instruction | nothing }}", /^data_formatter_template is not valid Jinja \(No filter named 'nothing'/],
    ["{{ instruction", /^data_formatter_template is not valid Jinja/],
    ["{% if %}", /^data_formatter_template is not valid Jinja/],
  ])("%j is an error", (source, message) => expect(() => render(source)).toThrow(message));
});
