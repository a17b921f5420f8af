import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/**
 * Writes a directory so that a crash at any instant leaves either nothing under its name, or what was there before, or the whole new
 * directory: `body` fills a temporary neighbour, every file and folder in it is flushed to disk, and the name is switched last.
 */
export async function writeDirectoryAtomically(
  path: string,
  body: (temporary: string) => Promise<void>,
): Promise<void> {
  const parent = dirname(path);
  mkdirSync(parent, { recursive: true });
  const temporary = join(parent, `.${basename(path)}.tmp`);
  rmSync(temporary, { recursive: true, force: true });
  mkdirSync(temporary);
  try {
    await body(temporary);
    flushTree(temporary);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw error;
  }
  const replaced = join(parent, `.${basename(path)}.replaced`);
  rmSync(replaced, { recursive: true, force: true });
  if (existsSync(path)) renameSync(path, replaced);
  renameSync(temporary, path);
  flush(parent);
  rmSync(replaced, { recursive: true, force: true });
}

/** Removes a directory so that a crash leaves it whole or gone under its name. */
export function removeDirectoryAtomically(path: string): void {
  const doomed = join(dirname(path), `.${basename(path)}.deleted`);
  rmSync(doomed, { recursive: true, force: true });
  renameSync(path, doomed);
  rmSync(doomed, { recursive: true, force: true });
}

/** What `recoverDirectories` found, as names in the folder. */
export interface Recovery {
  readonly removed: readonly string[];
  readonly restored: readonly string[];
}

/**
 * Clears away what a crash left of the two functions above in a folder: half-written and half-deleted directories are removed; a directory
 * that was about to be replaced gets its name back.
 */
export function recoverDirectories(parent: string): Recovery {
  const removed: string[] = [];
  const restored: string[] = [];
  for (const name of existsSync(parent) ? readdirSync(parent).sort() : []) {
    const match = /^\.(checkpoint-\d+)\.(tmp|replaced|deleted)$/.exec(name);
    if (match === null) continue;
    const [, original = "", kind] = match;
    if (kind === "replaced" && !existsSync(join(parent, original))) {
      renameSync(join(parent, name), join(parent, original));
      restored.push(original);
    } else {
      rmSync(join(parent, name), { recursive: true, force: true });
      removed.push(name);
    }
  }
  return { removed, restored };
}

function flushTree(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) flushTree(join(path, entry.name));
    else flush(join(path, entry.name));
  }
  flush(path);
}

function flush(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
