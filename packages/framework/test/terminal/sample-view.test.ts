import pc from "picocolors";
import { describe, expect, it } from "vitest";
import { groupSpans, renderSample, type SampleToken, type SampleView } from "../../src/terminal/sample-view.ts";

const pieces = ["<s>", "Q:", " 2+2?", "\n", "A:", " four", "</s>"];
const tokens: SampleToken[] = pieces.map((text, id) => ({ id, text, trained: id >= 5 }));
const decode = (ids: number[]): string => ids.map((id) => pieces[id]).join("");
const sample: SampleView = { index: 3, origin: "data.jsonl:4", tokens, spans: groupSpans(tokens, decode) };

describe("renderSample", () => {
  it("groups tokens by mask", () => {
    expect(sample.spans).toEqual([
      { trained: false, text: "<s>Q: 2+2?\nA:" },
      { trained: true, text: " four</s>" },
    ]);
  });

  it("paints trained text green and masked text dim, line by line", () => {
    expect(renderSample(sample, pc.createColors(true))).toEqual([
      "\u001B[1msample 3 (data.jsonl:4): 7 tokens, 2 trained\u001B[22m",
      "  \u001B[2m<s>Q: 2+2?\u001B[22m",
      "  \u001B[2mA:\u001B[22m\u001B[32m four</s>\u001B[39m",
      "\u001B[1mtokens\u001B[22m",
      "  " +
        ["<s>", "Q:", "␣2+2?", "⏎", "A:"].map((text) => `\u001B[2m${text}\u001B[22m`).join(" ") +
        ["␣four", "</s>"].map((text) => ` \u001B[32m${text}\u001B[39m`).join(""),
    ]);
  });

  it("marks trained parts without colours, too", () => {
    expect(renderSample(sample, pc.createColors(false)).slice(1, 3)).toEqual(["  <s>Q: 2+2?", "  A:« four</s>»"]);
  });

  it("counts what it does not show, and says when nothing is trained", () => {
    const masked = tokens.map((token) => ({ ...token, trained: false }));
    const lines = renderSample(
      { ...sample, tokens: masked, spans: groupSpans(masked, decode) },
      pc.createColors(false),
      2,
    );
    expect(lines).toContain("Nothing of this sample is trained.");
    expect(lines.at(-1)).toBe("  <s> Q: … and 5 more");
  });

  it("makes control characters harmless", () => {
    const evil: SampleToken[] = [{ id: 0, text: "\u001B[2J\u0000", trained: true }];
    const lines = renderSample(
      { ...sample, tokens: evil, spans: groupSpans(evil, () => "\u001B[2J\u0000") },
      pc.createColors(false),
    );
    expect(lines.at(-1)).toBe("  «\\x1b[2J\\x00»");
    expect(lines.join("")).not.toContain("\u001B");
  });
});
