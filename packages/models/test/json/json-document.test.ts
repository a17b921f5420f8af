import { describe, expect, it } from "vitest";

import { parseJson } from "../../src/json/json-document.ts";

describe("parseJson", () => {
  it("gives the value that JSON.parse gives", () => {
    const text = '{"a": [1, {"b": "x,{\\"\\\\"}, []], "c": {}, "": null}';
    expect(parseJson(text).value).toEqual(JSON.parse(text));
    expect(parseJson(text).duplicateKeys).toEqual([]);
  });

  it("finds duplicate keys at every depth, also when they are spelled differently", () => {
    expect(parseJson('{"a": 1, "a": 2}').duplicateKeys).toEqual(["a"]);
    expect(parseJson('{"x": {"a": 1, "\\u0061": 2}, "y": [{"b": 1}, {"b": 1, "c": 0, "b": 2}]}').duplicateKeys).toEqual(
      ["x.a", "y.1.b"],
    );
    expect(parseJson('{"a": {"k": 1}, "b": {"k": 1}, "c": "a"}').duplicateKeys).toEqual([]);
  });

  it("knows the lines of keys", () => {
    const document = parseJson('{\n  "a": 1,\n\n  "b": {\n "c": [2,\n 3], "d": 4}\n}');
    expect(document.lineOf(["a"])).toBe(2);
    expect(document.lineOf(["b"])).toBe(4);
    expect(document.lineOf(["b", "c"])).toBe(5);
    expect(document.lineOf(["b", "d"])).toBe(6);
    expect(document.lineOf(["z"])).toBeUndefined();
  });

  it("survives deep nesting", () => {
    const deep = "[".repeat(200_000) + "]".repeat(200_000);
    expect(parseJson(deep).duplicateKeys).toEqual([]);
  });

  it("throws a SyntaxError for what is no JSON", () => {
    for (const text of ["", "{", '{"a":}', "NaN", '{"a": NaN}', "[1,]", '{"a": 1} x']) {
      expect(() => parseJson(text)).toThrow(SyntaxError);
    }
  });
});
