import { describe, expect, it } from "vitest";

import { GenerationConfig } from "../../src/generation/generation-config.ts";
import { StopConditions, type TokenDecoder } from "../../src/generation/stop-conditions.ts";

/** Tokens are bytes. */
const bytes: TokenDecoder = { decode: (tokens) => Buffer.from(tokens).toString("utf8") };
/** Tokens are words, joined by spaces: what a token adds depends on what stands before it. */
const vocabulary = ["Hello", "world", "again"];
const words: TokenDecoder = { decode: (tokens) => tokens.map((token) => vocabulary[token]).join(" ") };

const finished = (options: object, decoder: TokenDecoder | undefined, tokens: readonly number[]): unknown =>
  new StopConditions(new GenerationConfig(options), decoder).finished(tokens);

describe("when a row ends", () => {
  it("at any of several tokens", () => {
    expect(finished({ eosTokenId: [5, 6] }, undefined, [1, 6])).toBe("eos");
    expect(finished({ eosTokenId: [5, 6] }, undefined, [6, 1])).toBeUndefined();
  });

  it("at any of several texts, across tokens", () => {
    const stop = { stopStrings: ["\n\n", "END"] };
    expect(finished(stop, bytes, [...Buffer.from("one\n")])).toBeUndefined();
    expect(finished(stop, bytes, [...Buffer.from("one\n\n")])).toBe("stop_string");
    expect(finished(stop, bytes, [...Buffer.from("the END")])).toBe("stop_string");
    expect(finished({ stopStrings: "Hello again" }, words, [1, 0, 2])).toBe("stop_string");
  });

  it("texts need a tokenizer and must not be empty", () => {
    expect(() => finished({ stopStrings: ["x"] }, undefined, [1])).toThrow(/need a tokenizer/);
    expect(() => finished({ stopStrings: [""] }, bytes, [1])).toThrow(/empty string/);
  });
});
