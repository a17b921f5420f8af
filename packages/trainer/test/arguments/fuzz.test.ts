/** Mutated lists of arguments: a result or one clear error, never anything else. */
import { describe, expect, it } from "vitest";
import { ArgumentError, argumentNames, parseArguments, type RawArgument } from "../../src/index.ts";

/** mulberry32: small, seeded. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const names = [...argumentNames(), "no_remove_unused_columns", "constructor", "__proto__", "toString", ""];
const values: readonly unknown[] = [
  true,
  false,
  null,
  undefined,
  0,
  -1,
  1e308,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  2 ** 53,
  "",
  " ",
  "-1",
  "1e999",
  "NaN",
  "2e-4",
  "true",
  "None",
  "epoch",
  "steps",
  "best",
  "out",
  "\u0000",
  "🦙".repeat(50),
  "{}",
  '{"__proto__": {"polluted": 1}}',
  "[",
  [],
  ["a", "b"],
  [["nested"]],
  { key: 1 },
  10n,
  Symbol("s"),
];

describe("1,000 mutated argument lists", () => {
  it("parse, or fail with one ArgumentError that names the place", () => {
    const below = random(1);
    let parsed = 0;
    let failed = 0;
    for (let round = 0; round < 1000; round++) {
      const list: RawArgument[] = [{ name: "output_dir", value: "out", where: "--output_dir" }];
      for (let count = below(3); count >= 0; count--) {
        let name = names[below(names.length)] ?? "";
        if (below(10) === 0)
          name =
            name.slice(0, below(name.length + 1)) +
            String.fromCodePoint(97 + below(26)) +
            name.slice(below(name.length + 1));
        list.push({ name, value: values[below(values.length)], where: `--${name}` });
      }
      try {
        const { training } = parseArguments(list);
        expect(Object.keys(training).length).toBeGreaterThan(40);
        parsed++;
      } catch (error) {
        if (!(error instanceof ArgumentError)) throw error;
        expect(error.message.length).toBeLessThan(700);
        expect(error.message).toMatch(/\w/);
        failed++;
      }
    }
    expect(parsed).toBeGreaterThan(50);
    expect(failed).toBeGreaterThan(300);
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });
});
