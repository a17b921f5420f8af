import { describe, expect, it } from "vitest";

import { AdapterConfigError } from "../../src/peft/errors.ts";
import { compileFullMatch, compileMatch } from "../../src/peft/python-regex.ts";

describe("Python expressions as JavaScript ones", () => {
  it.each<[pattern: string, name: string, matches: boolean]>([
    [".*\\.layers\\.1\\.(self_attn\\.(q|v)_proj|mlp\\.up_proj)", "model.layers.1.mlp.up_proj", true],
    [".*\\.layers\\.1\\.(self_attn\\.(q|v)_proj|mlp\\.up_proj)", "model.layers.11.mlp.up_proj", false],
    ["q_proj", "model.q_proj", false], // the whole name, not an ending
    ["a|ab", "ab", true], // fullmatch goes back to the second alternative
    ["(?P<kind>q|k)_(?P=kind)", "k_k", true],
    ["(?P<kind>q|k)_(?P=kind)", "q_k", false],
    ["(?i)Q_PROJ", "q_proj", true],
    ["(?i)(?#comment)Q_(?:proj)", "q_proj", true],
    ["[]a]+", "]a]", true],
    ["[^]]+", "ab", true],
    ["[[]", "[", true],
    ["a{,2}", "aa", true],
    ["a{,2}", "aaa", false],
    ["a{2}", "a{2}", false],
    ["a{", "a{", true],
    ["x{y}", "x{y}", true],
    ["\\Alayers\\.\\d+\\Z", "layers.12", true],
    ["(?<!k_)proj", "proj", true],
    ["layers\\.(?!0\\.).*", "layers.0.q", false],
    ["layers\\.(?!0\\.).*", "layers.1.q", true],
    ["\\x61\\u0062", "ab", true],
    [".*?_proj", "q_proj", true],
  ])("%s on %s: %s", (pattern, name, matches) => {
    expect(compileFullMatch(pattern, "target_modules").test(name)).toBe(matches);
  });

  it("match needs no end", () => {
    expect(compileMatch("model", "here").test("model.layers")).toBe(true);
    expect(compileMatch("layers", "here").test("model.layers")).toBe(false);
  });

  it.each<[pattern: string, complaint: RegExp]>([
    ["a*+", /possessive quantifier at position 2/],
    ["(?>a)", /the group \(\?>a/],
    ["(a)?(?(1)b|c)", /the group/],
    ["(?x) a", /the flag x/],
    ["a(?i)b", /flags that are not at the start at position 1/],
    ["(?i:a)", /the group/],
    ["\\qa", /the escape \\q/],
    ["a\\", /lone backslash/],
    ["[a", /unterminated character set/],
    ["\\07", /octal/],
    ["(a", /not a valid regular expression/],
    ["*a", /not a valid regular expression/],
  ])("refuses %s", (pattern, complaint) => {
    expect(() => compileFullMatch(pattern, "target_modules")).toThrow(AdapterConfigError);
    expect(() => compileFullMatch(pattern, "target_modules")).toThrow(complaint);
  });
});
