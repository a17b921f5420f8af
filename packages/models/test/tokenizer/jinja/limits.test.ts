import { describe, expect, it } from "vitest";
import { JinjaError, JinjaTemplate, type JinjaTemplateOptions } from "../../../src/tokenizer/jinja/index.ts";

function failure(
  source: string,
  variables: Record<string, unknown> = {},
  options: JinjaTemplateOptions = {},
): { readonly type: string; readonly milliseconds: number } {
  const start = performance.now();
  try {
    new JinjaTemplate(source, options).render(variables);
  } catch (error) {
    expect(error).toBeInstanceOf(JinjaError);
    return { type: (error as JinjaError).type, milliseconds: performance.now() - start };
  }
  throw new Error("the template rendered");
}

describe("hostile templates end with an error", () => {
  it.each([
    ["nested loops", "{% for a in range(99999) %}{% for b in range(99999) %}{{ b }}{% endfor %}{% endfor %}"],
    ["a macro that calls itself", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"],
    [
      "two macros that call each other",
      "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{% if true %}{{ a() }}{% endif %}{% endmacro %}{{ a() }}",
    ],
    ["a recursive loop without an end", "{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}"],
    [
      "a call block that calls itself",
      "{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{% call m() %}x{% endcall %}",
    ],
    [
      "a text that doubles",
      "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    ],
    [
      "a list that doubles",
      "{% set ns = namespace(l=[1, 2]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
    ],
    ["a long repetition", "{{ 'x' * 10 ** 12 }}"],
    ["a long list", "{{ [0] * 10 ** 12 }}"],
    ["a wide field", "{{ '%1000000000d' % 1 }}"],
    ["a wide field of format", "{{ '{:>1000000000}'.format(1) }}"],
    ["padding", "{{ 'x'.center(10 ** 12) }}{{ 'x' | center(10 ** 12) }}{{ 'x'.ljust(10 ** 12) }}"],
    ["a huge power", "{{ 10 ** (10 ** 10) }}"],
    ["a power tower", "{% set ns = namespace(n=9) %}{% for i in range(99) %}{% set ns.n = ns.n * ns.n %}{% endfor %}"],
    ["an indentation", "{{ 'a\\nb' | indent(10 ** 12) }}"],
    [
      "a replacement that grows",
      "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(99) %}{% set ns.s = ns.s | replace('a', 'aaaaaaaa') %}{% endfor %}",
    ],
    [
      "a join that grows",
      "{% set ns = namespace(s='aaaa') %}{% for i in range(99) %}{% set ns.s = ns.s | join(ns.s) %}{% endfor %}",
    ],
    [
      "work on a long text",
      "{% set s = 'ab' * 10000000 %}{% for i in range(99999) %}{% if 'c' in s %}{% endif %}{% endfor %}",
    ],
    [
      "filters on a long text",
      "{% set s = 'ab' * 10000000 %}{% for i in range(99999) %}{% set t = s | upper | trim %}{% endfor %}",
    ],
    [
      "comparisons of long lists",
      "{% set l = [1] * 1000000 %}{% for i in range(99999) %}{% if l == l + [] %}{% endif %}{% endfor %}",
    ],
  ])("%s", (_, source) => {
    const { type, milliseconds } = failure(source, {}, { limits: { steps: 1_000_000 } });
    expect(type).toBe("LimitError");
    expect(milliseconds).toBeLessThan(20_000);
  });

  it("even with the usual limits", () => {
    expect(failure("{% for a in range(99999) %}{% for b in range(99999) %}{{ b }}{% endfor %}{% endfor %}").type).toBe(
      "LimitError",
    );
  });

  it.each([
    ["brackets", `{{ ${"(".repeat(20_000)}1${")".repeat(20_000)} }}`],
    ["lists", `{{ ${"[".repeat(20_000)}${"]".repeat(20_000)} }}`],
    ["not", `{{ ${"not ".repeat(20_000)}1 }}`],
    ["signs", `{{ ${"-".repeat(20_000)}1 }}`],
    ["else", `{{ ${"1 if 0 else ".repeat(20_000)}1 }}`],
    ["blocks", `${"{% if 1 %}".repeat(20_000)}${"{% endif %}".repeat(20_000)}`],
    ["loops", `${"{% for x in [1] %}".repeat(20_000)}${"{% endfor %}".repeat(20_000)}`],
    ["targets", `{% set ${"(".repeat(20_000)}a${")".repeat(20_000)} = 1 %}`],
  ])("%s nested too deep", (_, source) => {
    expect(failure(source).type).toBe("TemplateSyntaxError");
  });

  it.each([
    ["filters", `{{ 1${" | string".repeat(20_000)} }}`],
    ["attributes", `{{ a${".b".repeat(20_000)} }}`],
    ["calls", `{{ a${"()".repeat(20_000)} }}`],
  ])("a chain of %s too long", (_, source) => {
    expect(failure(source).type).toBe("LimitError");
  });

  it("takes long chains of operators", () => {
    expect(new JinjaTemplate(`{{ ${"1 + ".repeat(20_000)}1 }}`).render({})).toBe("20001");
    expect(new JinjaTemplate(`{{ ${"'a' ~ ".repeat(2000)}'b' }}`).render({})).toBe(`${"a".repeat(2000)}b`);
    expect(new JinjaTemplate(`{% if a %}${"{% elif b %}".repeat(5000)}{% else %}x{% endif %}`).render({})).toBe("x");
  });

  it("refuses values that nest too deep, and values that are no data", () => {
    let deep: unknown = 1;
    for (let level = 0; level < 5000; level++) {
      deep = [deep];
    }
    expect(failure("{{ x }}", { x: deep }).type).toBe("ValueError");
    const circular: Record<string, unknown> = {};
    circular["self"] = circular;
    expect(failure("{{ x }}", { x: circular }).type).toBe("ValueError");
    expect(failure("{{ x }}", { x: () => 1 }).type).toBe("TypeError");
    expect(failure("{{ x }}", { x: new Date(0) }).type).toBe("TypeError");
  });

  it("does not reach into JavaScript objects", () => {
    const template = new JinjaTemplate(
      "{{ x.constructor }}|{{ x.__proto__ is defined }}|{{ x['hasOwnProperty'] }}|{{ [].length }}|{{ ''.length }}",
    );
    expect(template.render({ x: { a: 1 } })).toBe("||||".replace("||", "|False|"));
  });

  it("renders a long conversation within the limits", () => {
    const messages = Array.from({ length: 2000 }, (_, index) => ({
      role: index % 2 === 0 ? "user" : "assistant",
      content: "x".repeat(2000),
    }));
    const template = new JinjaTemplate(
      "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content | trim + '\\n' }}{% endfor %}",
    );
    expect(template.render({ messages })).toHaveLength(messages.reduce((sum, m) => sum + m.role.length + 5 + 2000, 0));
  });
});

describe("errors", () => {
  it("name the line", () => {
    expect(() => new JinjaTemplate("a\nb\n{% if %}")).toThrow(
      expect.objectContaining({ type: "TemplateSyntaxError", line: 3 }) as Error,
    );
    const template = new JinjaTemplate("a\n\n{{ x }}\n{% for y in x %}\n{{ y.z.w }}{% endfor %}");
    expect(() => template.render({ x: [{}] })).toThrow(
      expect.objectContaining({ type: "UndefinedError", line: 5 }) as Error,
    );
  });
});
