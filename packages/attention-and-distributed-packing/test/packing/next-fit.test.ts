import { readJsonFixture } from "@fms-accel/test-utilities";
import { expect, it } from "vitest";
import { nextFit } from "../../src/index.ts";

interface PackingFixture {
  readonly lists: Readonly<Record<string, number[]>>;
  readonly groups: readonly {
    readonly lengths: string;
    readonly max_length: number;
    readonly max_size: number;
    readonly groups: number[][];
  }[];
}

const { lists, groups } = readJsonFixture<PackingFixture>("data/packing.json");

it.each(groups)(
  "$lengths at $max_length, groups of $max_size",
  ({ lengths, max_length, max_size, groups: expected }) => {
    const found = nextFit(lists[lengths] ?? [], max_length, max_size);
    expect(found.map((group) => Array.from(group))).toEqual(expected);
  },
);
