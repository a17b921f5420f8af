import { expect, test } from "vitest";
import type { CausalLM } from "@fms-accel/models";
import { TrainerSlots, TrainingError, type TrainerSlotName } from "@fms-accel/trainer";
import { readJsonFixture } from "@fms-accel/test-utilities";
import { summariseSlots } from "../../src/plugins/slot-summary.ts";

interface Vector {
  readonly what: string;
  readonly result?: { readonly summary: string };
}

const { accelerator_patcher: vectors, padding_free_collators: collators } = readJsonFixture<{
  accelerator_patcher: Vector[];
  padding_free_collators: { collator: string; result?: { summary: string } }[];
}>("framework", "patching.json");

type Claim = readonly [id: string, slot: TrainerSlotName];
const collator: Claim = ["c", "collator"];
const loader: Claim = ["l", "dataLoader"];

/** The claims of each reference case; what the parts then do is tested with the trainer, whose slots they are. */
const cases: Readonly<Record<string, readonly Claim[]>> = {
  "no rules": [],
  "collator replaced": [collator],
  "collator built from the old one": [collator],
  "loader replaced": [loader],
  "loader built, skip_prepare: the old prepare is not called": [loader],
  "loader first, then its collator": [loader, collator],
  "the same rule id twice": [collator, ["c", "dataLoader"]],
  "the same component twice": [collator, ["d", "collator"]],
};

/** Slots are typed, and asked for by name: nothing is guessed from arguments at run time. */
const elsewhere: readonly string[] = [
  "several arguments: patch steps aside",
  "not a data loader: patch steps aside",
  "failing pre-requisite",
  "neither replacement nor builder",
  "both replacement and builder",
  "unknown special argument",
  "replacement of the wrong type",
];

test("every vector is accounted for", () => {
  expect([...Object.keys(cases), ...elsewhere].sort()).toEqual(vectors.map(({ what }) => what).sort());
});

function claimed(claims: readonly Claim[]): TrainerSlots<CausalLM> {
  const slots = new TrainerSlots<CausalLM>();
  for (const [id, slot] of claims) slots.claim(slot, "plugin", () => undefined as never, id);
  return slots;
}

test.each(vectors.filter(({ what, result }) => what in cases && result !== undefined))("$what", ({ what, result }) => {
  expect(summariseSlots(claimed(cases[what] ?? []).claims())).toBe(result?.summary);
});

test.each(vectors.filter(({ what, result }) => what in cases && result === undefined))(
  "$what is refused",
  ({ what }) => {
    expect(() => claimed(cases[what] ?? [])).toThrow(TrainingError);
  },
);

test("a collator that flattens is shown as the original shows its own, whichever collator was there", () => {
  const shown = collators.flatMap(({ result }) => (result === undefined ? [] : [result.summary]));
  expect(shown).toHaveLength(4);
  for (const summary of shown)
    expect(summariseSlots(claimed([["flattening-collator", "collator"]]).claims())).toBe(summary);
});
