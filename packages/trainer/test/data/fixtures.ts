import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixturePath, readJsonFixture } from "@fms-accel/test-utilities";
import type { Dataset, Row } from "../../src/data/index.ts";

/** Absolute path of a committed fixture. */
export function fixture(path: string): string {
  return fixturePath(...path.split("/"));
}

/** A committed JSON fixture; the caller says what is in it. */
export function readFixture(path: string): unknown {
  return readJsonFixture<unknown>(...path.split("/"));
}

/** A folder that is gone after the test. */
export class TemporaryFolder implements Disposable {
  readonly path: string = mkdtempSync(join(tmpdir(), "fms-accel-data-"));

  write(name: string, contents: string | Uint8Array): string {
    const path = join(this.path, name);
    writeFileSync(path, contents);
    return path;
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

export async function allRows(dataset: Dataset): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const row of dataset.rows()) rows.push(row);
  return rows;
}

/** The error that `action` throws, or an error that it threw none. */
export async function errorOf(action: () => unknown): Promise<Error> {
  try {
    await action();
  } catch (error) {
    if (error instanceof Error) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}
