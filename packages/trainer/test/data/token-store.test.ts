import { existsSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { describe, expect, it } from "vitest";
import { IGNORE_INDEX, TokenStore, type Sample } from "../../src/data/index.ts";
import { errorOf } from "./fixtures.ts";

/** Samples of lengths 0 to 5000; every fifth has labels that are not its ids. */
function makeSamples(count: number): Sample[] {
  return Array.from({ length: count }, (_, i) => {
    const inputIds = Int32Array.from({ length: (i * 977) % 5001 }, (_, j) => (i * 31 + j * 17) % 50_000);
    const labels = inputIds.map((id, j) =>
      j < inputIds.length / 3 || j % 11 === 0 ? IGNORE_INDEX : i % 5 === 4 ? id + 1 : id,
    );
    return { inputIds, labels };
  });
}

/** Compares bytes: `toEqual` goes over millions of numbers one by one. */
function expectSame(ours: Sample, expected: Sample): void {
  expect(Buffer.from(ours.inputIds.buffer).equals(Buffer.from(expected.inputIds.buffer))).toBe(true);
  expect(Buffer.from(ours.labels.buffer).equals(Buffer.from(expected.labels.buffer))).toBe(true);
}

const spillFolders = (): string[] => readdirSync(tmpdir()).filter((name) => name.startsWith("fms-accel-tokens-"));

describe("TokenStore", () => {
  it.each([
    ["in memory", Infinity],
    ["with all full blocks in a temporary file", 0],
    ["with some blocks in a temporary file", 6 << 20],
  ])("gives samples back, %s", (_name, limit) => {
    const samples = makeSamples(1500);
    using store = new TokenStore(limit);
    for (const sample of samples) store.push(sample);
    expect(store.length).toBe(1500);
    expect(Array.from(store.lengths)).toEqual(samples.map((sample) => sample.inputIds.length));
    expect(store.spilledBytes > 0).toBe(limit < Infinity);
    for (let i = 1499; i >= 0; i--) expectSame(store.sample(i), samples[i]!);
    expect(store.sample(7)).not.toBe(store.sample(7));
  });

  it("keeps a sample that is longer than a block", () => {
    const inputIds = Int32Array.from({ length: (1 << 20) + 3 }, (_, i) => i);
    const labels = inputIds.slice().fill(IGNORE_INDEX, 0, 9);
    using store = new TokenStore(0);
    for (let i = 0; i < 3; i++) store.push({ inputIds, labels });
    expectSame(store.sample(1), { inputIds, labels });
  });

  it("removes its temporary file, and says so when it is used behind that", async () => {
    const before = spillFolders();
    const store = new TokenStore(0);
    for (const sample of makeSamples(900)) store.push(sample);
    const made = spillFolders().filter((name) => !before.includes(name));
    expect(made).not.toHaveLength(0);
    store[Symbol.dispose]();
    expect(made.some((name) => existsSync(`${tmpdir()}/${name}`))).toBe(false);
    store[Symbol.dispose]();
    expect((await errorOf(() => store.sample(0))).message).toMatch(/no such sample/);
  });

  it("takes about four bytes a token", () => {
    using store = new TokenStore(Infinity);
    const sample = { inputIds: new Int32Array(300).fill(7), labels: new Int32Array(300).fill(7) };
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 100_000; i++) store.push(sample);
    const bytes = process.memoryUsage().arrayBuffers - before;
    expect(store.sample(99_999)).toEqual(sample);
    expect(bytes / 30e6).toBeLessThan(4.6);
  });
});
