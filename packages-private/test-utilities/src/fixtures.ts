import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../fixtures/", import.meta.url));

/** The path of a reference fixture, for example fixturePath("models", "llama"). */
export function fixturePath(...parts: string[]): string {
  return join(root, ...parts);
}

export function readJsonFixture<T>(...parts: string[]): T {
  return JSON.parse(readFileSync(fixturePath(...parts), "utf8")) as T;
}

const temporary: string[] = [];

/** A new directory that is removed when the process ends. */
export function temporaryDirectory(prefix = "fms-accel-"): string {
  if (temporary.length === 0) {
    process.on("exit", () => temporary.forEach((directory) => rmSync(directory, { recursive: true, force: true })));
  }
  const directory = mkdtempSync(join(tmpdir(), prefix));
  temporary.push(directory);
  return directory;
}
