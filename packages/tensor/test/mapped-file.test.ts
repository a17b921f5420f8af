import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryDirectory } from "@fms-accel/test-utilities";
import { expect, test } from "vitest";
import { add, memoryStats, openMappedFile, TensorError } from "../src/index.ts";

const directory = temporaryDirectory();
const path = join(directory, "weights.bin");
writeFileSync(path, new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer));

test("tensors over a file need no memory and outlive the file object", () => {
  const live = memoryStats().liveBytes;
  const file = openMappedFile(path);
  expect(file.size).toBe(16);
  const x = file.tensor(4, [3], "float32");
  expect(memoryStats().liveBytes).toBe(live);
  file.close();
  expect(x.toArray()).toEqual([2, 3, 4]);
  expect(add(x, 1).toArray()).toEqual([3, 4, 5]);
});

test("a mapped tensor cannot be written to", () => {
  const x = openMappedFile(path).tensor(0, [4], "float32");
  expect(() => x.copyFrom(Float32Array.of(0, 0, 0, 0))).toThrow("read-only");
});

test("an offset between elements gives a copy", () => {
  const odd = join(directory, "odd.bin");
  writeFileSync(odd, Buffer.concat([Buffer.from([9]), Buffer.from(Float32Array.of(5, 6).buffer)]));
  expect(openMappedFile(odd).tensor(1, [2], "float32").toArray()).toEqual([5, 6]);
});

test("what lies outside of the file is refused", () => {
  const file = openMappedFile(path);
  expect(() => file.tensor(0, [5], "float32")).toThrow(TensorError);
  expect(() => file.tensor(16, [1], "float32")).toThrow("reaches beyond");
  expect(() => file.tensor(-4, [1], "float32")).toThrow(TensorError);
  expect(() => file.tensor(0, [-1], "float32")).toThrow(TensorError);
  expect(() => file.tensor(0, [2 ** 40, 2 ** 40], "float32")).toThrow(TensorError);
  expect(file.tensor(16, [0], "float32").toArray()).toEqual([]);
});

test("a part of a file counts from the file's beginning, and ends where it ends", () => {
  const long = join(directory, "long.bin");
  const count = 50_000;
  writeFileSync(long, new Uint8Array(Float32Array.from({ length: count }, (_, i) => i).buffer));
  // Before, at and behind a multiple of what parts are aligned to.
  for (const first of [0, 1, 16_383, 16_384, 16_385, count - 2]) {
    const file = openMappedFile(long, { begin: 4 * first, end: 4 * (first + 2) });
    expect(file.tensor(4 * first, [2], "float32").toArray()).toEqual([first, first + 1]);
    expect(() => file.tensor(4 * first, [3], "float32")).toThrow("reaches beyond");
    expect(file.size).toBe(4 * (first + 2));
  }
  expect(openMappedFile(long, { begin: 4 * count, end: 4 * count }).tensor(4 * count, [0], "float32").shape).toEqual([
    0,
  ]);
  const behind = openMappedFile(long, { begin: 4 * 16_384, end: 4 * 16_386 });
  expect(() => behind.tensor(4 * 16_383, [1], "float32")).toThrow(TensorError);
  expect(() => openMappedFile(long, { begin: 0, end: 4 * count + 1 })).toThrow("reaches beyond its end at 200000");
  expect(() => openMappedFile(long, { begin: 2 ** 20, end: 2 ** 20 })).toThrow("reaches beyond its end");
  expect(() => openMappedFile(long, { begin: -1, end: 4 })).toThrow(TensorError);
});

test("missing files, directories and empty files", () => {
  expect(() => openMappedFile(join(directory, "missing"))).toThrow("cannot be opened");
  mkdirSync(join(directory, "folder"), { recursive: true });
  expect(() => openMappedFile(join(directory, "folder"))).toThrow("not a regular file");
  writeFileSync(join(directory, "empty"), "");
  expect(openMappedFile(join(directory, "empty")).size).toBe(0);
});
