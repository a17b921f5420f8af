import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

import {
  applyRepetitionPenalty,
  applyTemperature,
  keepMinP,
  keepTopK,
  keepTopP,
  softmax,
  suppress,
} from "../../src/generation/logits-processors.ts";

interface Sampling {
  parameters: { temperature: number; top_k: number; top_p: number; min_p: number; repetition_penalty: number };
  history: number[];
  logits: Record<string, number[]>;
  cases: { row: string; filter: string; probabilities: number[] }[];
}

const sampling = JSON.parse(
  readFileSync(new URL("../../../../packages-private/fixtures/sampling.json", import.meta.url), "utf8"),
) as Sampling;
const { temperature, top_k: k, top_p: p, min_p: minP, repetition_penalty: penalty } = sampling.parameters;

const filters: Record<string, (logits: Float32Array) => void> = {
  none: () => undefined,
  temperature: (logits) => applyTemperature(logits, temperature),
  top_k: (logits) => keepTopK(logits, k),
  top_p: (logits) => keepTopP(logits, p),
  min_p: (logits) => keepMinP(logits, minP),
  repetition_penalty: (logits) => applyRepetitionPenalty(logits, sampling.history, penalty),
};
filters["all"] = (logits) =>
  ["repetition_penalty", "temperature", "top_k", "top_p", "min_p"].forEach((name) => filters[name]?.(logits));

/** The reference rounds logits of up to 20 to float32 before it exponentiates: that alone is 20 · 2^-24 of a probability. */
const RELATIVE_TOLERANCE = 2e-6;

describe("probabilities of the next token, against Hugging Face's", () => {
  it.each(sampling.cases.map((one) => [one.row, one.filter, one.probabilities] as const))(
    "row %s, filter %s",
    (row, filter, expected) => {
      const logits = Float32Array.from(sampling.logits[row] ?? []);
      filters[filter]?.(logits);
      const found = [...softmax(logits)];
      // Which of several equal tokens top_p cuts off depends on the sort: only how many and how probable is defined.
      const cutsTies = row === "ties" && (filter === "top_p" || filter === "all");
      const [a, b] = cutsTies
        ? [found.toSorted((x, y) => x - y), expected.toSorted((x, y) => x - y)]
        : [found, expected];
      expect(a.map((value) => value === 0)).toEqual(b.map((value) => value === 0));
      a.forEach((value, index) =>
        expect(Math.abs(value - (b[index] ?? NaN))).toBeLessThanOrEqual(RELATIVE_TOLERANCE * (b[index] ?? NaN)),
      );
    },
  );
});

/** Indices that a filter leaves. */
const kept = (values: readonly number[], filter: (logits: Float32Array) => void): number[] => {
  const logits = Float32Array.from(values);
  filter(logits);
  return [...logits].flatMap((value, index) => (value === -Infinity ? [] : [index]));
};

describe("filters on small rows", () => {
  it("top k keeps ties with the k-th, and everything when k is large", () => {
    expect(kept([1, 3, 2, 2, 0], (logits) => keepTopK(logits, 2))).toEqual([1, 2, 3]);
    expect(kept([1, 3, 2], (logits) => keepTopK(logits, 1))).toEqual([1]);
    expect(kept([1, 3, 2], (logits) => keepTopK(logits, 3))).toEqual([0, 1, 2]);
    expect(kept([1, 3, 2], (logits) => keepTopK(logits, 100))).toEqual([0, 1, 2]);
  });

  it("top k agrees with sorting on long rows", () => {
    let state = 1;
    const values = Array.from({ length: 2000 }, () => (state = (state * 48271) % 2147483647) % 1000);
    for (const count of [1, 7, 50, 1999]) {
      const threshold = values.toSorted((a, b) => b - a)[count - 1] ?? 0;
      const expected = values.flatMap((value, index) => (value >= threshold ? [index] : []));
      expect(kept(values, (logits) => keepTopK(logits, count))).toEqual(expected);
    }
  });

  it("top p keeps the most probable token even for p = 0, and drops the later of equal ones", () => {
    expect(kept([0, 5, 1], (logits) => keepTopP(logits, 0))).toEqual([1]);
    expect(kept([0, 0, 0, 0], (logits) => keepTopP(logits, 0.5))).toEqual([0, 1]);
    expect(kept([0, 0, 0, 0], (logits) => keepTopP(logits, 0.6))).toEqual([0, 1, 2]);
    expect(kept([7], (logits) => keepTopP(logits, 0.1))).toEqual([0]);
  });

  it("filters compose: what was filtered stays filtered", () => {
    const both = kept([5, 4, 3, 2, 1], (logits) => {
      keepTopK(logits, 3);
      keepTopP(logits, 0.99);
      keepMinP(logits, 0.2);
    });
    expect(both).toEqual([0, 1]);
  });

  it("the repetition penalty counts a token once and ignores ids beyond the vocabulary", () => {
    const logits = Float32Array.from([2, -2, 1]);
    applyRepetitionPenalty(logits, [0, 0, 1, 99], 2);
    expect([...logits]).toEqual([1, -4, 1]);
  });

  it("suppressed tokens have probability 0", () => {
    const logits = Float32Array.from([1, 2, 3]);
    suppress(logits, [2, 50]);
    expect(softmax(logits)[2]).toBe(0);
  });
});
