import { readJsonFixture } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { configSource } from "../../src/config/config-source.ts";
import { parseRope } from "../../src/config/rope-fields.ts";
import { attentionScaling, dependsOnLength, rotaryFrequencies } from "../../src/rope/frequencies.ts";

interface Case {
  max_position_embeddings: number;
  rope_parameters: Record<string, unknown>;
  length: number;
  frequencies: number[];
  attention_scaling: number;
}

const { cases } = readJsonFixture<{ cases: Case[] }>("rope-frequencies.json");
const HEAD_DIM = 64;

function parse(keys: Parameters<typeof parseRope>[1], maxPositionEmbeddings: number): ReturnType<typeof parseRope> {
  return parseRope(configSource({}, { onWarning: () => {} }), keys, {
    maxPositionEmbeddings,
    rotaryDim: HEAD_DIM,
    defaultTheta: 10_000,
  });
}

describe("rotaryFrequencies", () => {
  it.each(cases.map((entry) => [entry.rope_parameters["rope_type"], entry.length, entry] as const))(
    "%s, call of %i, equals the reference to the last bit but one",
    (_, length, entry) => {
      const rope = parse({ rope_parameters: entry.rope_parameters }, entry.max_position_embeddings);
      const frequencies = rotaryFrequencies(rope, HEAD_DIM, length);
      expect(frequencies.length).toBe(HEAD_DIM / 2);
      for (const [index, expected] of entry.frequencies.entries()) {
        expect(Math.abs(frequencies[index]! - expected)).toBeLessThanOrEqual(2 ** -22 * expected);
      }
      expect(attentionScaling(rope)).toBeCloseTo(entry.attention_scaling, 12);
    },
  );

  it("reads transformers 4's keys to the same parameters", () => {
    for (const entry of cases) {
      const { rope_theta, rope_type, ...scaling } = entry.rope_parameters;
      const current = parse({ rope_parameters: entry.rope_parameters }, entry.max_position_embeddings);
      const keys = { rope_theta: rope_theta as number };
      for (const key of ["rope_type", "type"]) {
        expect(
          parse({ ...keys, rope_scaling: { [key]: rope_type, ...scaling } }, entry.max_position_embeddings),
        ).toEqual(current);
      }
    }
  });

  it("knows which types depend on the length of the call", () => {
    const types = cases.filter((entry) => dependsOnLength(parse(entry, entry.max_position_embeddings)));
    expect(new Set(types.map((entry) => entry.rope_parameters["rope_type"]))).toEqual(new Set(["dynamic", "longrope"]));
  });
});
