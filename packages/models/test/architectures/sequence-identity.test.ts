/** Several sequences in one row, in every architecture: what is in one of them never reaches another, to the bit. */
import { noGrad, tensor } from "@fms-accel/tensor";
import { describe, expect, it } from "vitest";

import type { CausalLM, CausalLMInputs } from "../../src/modeling/causal-lm.ts";
import { DENSE_CASES, inScope, openModel } from "./golden.ts";

const CASES = [...DENSE_CASES, "mixtral", "granitemoe", "granitemoeshared", "qwen3_moe"];

/** Longer than every window of the fixtures. */
const LENGTHS = [9, 11, 7] as const;
const TOTAL = LENGTHS.reduce((sum, length) => sum + length, 0);

type Row = readonly number[];
const perSequence = (value: (sequence: number, at: number) => number): Row =>
  LENGTHS.flatMap((length, sequence) => Array.from({ length }, (_, at) => value(sequence, at)));

const row = (values: Row): ReturnType<typeof tensor> => tensor(Int32Array.from(values), { shape: [1, TOTAL] });
const positions = perSequence((_, at) => at);
const sequences = perSequence((sequence) => sequence);

/** How callers say where sequences begin. */
const FORMS: readonly (readonly [string, () => Partial<CausalLMInputs>])[] = [
  ["position ids", () => ({ positionIds: row(positions) })],
  ["sequence ids", () => ({ sequenceIds: row(sequences) })],
  ["both", () => ({ positionIds: row(positions), sequenceIds: row(sequences) })],
];

/** Logits of each sequence. */
function logitsOf(model: CausalLM, ids: Row, form: () => Partial<CausalLMInputs>): Float32Array[] {
  const logits = inScope(() => noGrad(() => model.forward({ inputIds: row(ids), ...form() }).logits.toFloat32Array()));
  const width = logits.length / TOTAL;
  let start = 0;
  return LENGTHS.map((length) => logits.slice(start * width, (start += length) * width));
}

describe.each(CASES)("%s", (name) => {
  it.each(FORMS)("keeps sequences apart by %s", async (_, form) => {
    const model = await openModel(name);
    const { vocabSize } = model.config;
    const ids = perSequence((sequence, at) => (31 * sequence + 7 * at + 3) % vocabSize);
    const before = logitsOf(model, ids, form);
    for (const changed of LENGTHS.keys()) {
      const others = ids.map((id, at) => (sequences[at] === changed ? (id + 5 + at) % vocabSize : id));
      const after = logitsOf(model, others, form);
      for (const sequence of LENGTHS.keys()) {
        const same = Buffer.compare(
          new Uint8Array(before[sequence]!.buffer, before[sequence]!.byteOffset, before[sequence]!.byteLength),
          new Uint8Array(after[sequence]!.buffer, after[sequence]!.byteOffset, after[sequence]!.byteLength),
        );
        expect(same === 0, `sequence ${sequence} when ${changed} changes`).toBe(sequence !== changed);
      }
    }
  });

  it("takes position ids: they move learned positions and rotations", async () => {
    const model = await openModel(name);
    const ids = perSequence((sequence, at) => (31 * sequence + 7 * at + 3) % model.config.vocabSize);
    const sequenceIds = (): Partial<CausalLMInputs> => ({ sequenceIds: row(sequences) });
    const stretched = (): Partial<CausalLMInputs> => ({
      ...sequenceIds(),
      positionIds: row(positions.map((position) => 2 * position)),
    });
    const [plain] = logitsOf(model, ids, sequenceIds);
    const [moved] = logitsOf(model, ids, stretched);
    expect(moved).not.toEqual(plain);
  });
});
