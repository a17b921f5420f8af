import { existsSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { TrainingCheckpointError } from "../errors.ts";
import { checkpointFiles, loopStateSchema, readJson } from "./files.ts";
import { removeDirectoryAtomically } from "./directory.ts";

/** A complete checkpoint of an output folder. */
export interface CheckpointEntry {
  readonly path: string;
  readonly step: number;
  /** Order of writing, across runs that share the folder. */
  readonly sequence: number;
}

export interface CheckpointListing {
  /** The one written last comes last. */
  readonly complete: readonly CheckpointEntry[];
  /** Folders named like a checkpoint that cannot be resumed from, with the reason. */
  readonly unusable: readonly { readonly path: string; readonly reason: string }[];
}

export function checkpointName(step: number): string {
  return `checkpoint-${step}`;
}

/** Checkpoints of an output folder, in the order they were written. */
export function listCheckpoints(outputDir: string): CheckpointListing {
  const complete: CheckpointEntry[] = [];
  const unusable: { path: string; reason: string }[] = [];
  for (const entry of existsSync(outputDir) ? readdirSync(outputDir, { withFileTypes: true }) : []) {
    const match = /^checkpoint-(\d+)$/.exec(entry.name);
    if (match === null || !entry.isDirectory()) continue;
    const path = join(outputDir, entry.name);
    try {
      if (!existsSync(join(path, checkpointFiles.trainerState))) {
        throw new TrainingCheckpointError(`${checkpointFiles.trainerState} is missing`);
      }
      const { sequence } = readJson(join(path, checkpointFiles.loopState), loopStateSchema);
      complete.push({ path, step: Number(match[1]), sequence });
    } catch (error) {
      unusable.push({ path, reason: (error as Error).message });
    }
  }
  complete.sort((a, b) => a.sequence - b.sequence || a.step - b.step);
  return { complete, unusable };
}

/**
 * Removes the oldest checkpoints beyond a limit. The newest always stays, and so does `best`, if need be as one more than the limit.
 *
 * @returns names of the removed folders
 */
export function rotateCheckpoints(outputDir: string, limit: number, best: string | null): string[] {
  const { complete } = listCheckpoints(outputDir);
  const newest = complete.at(-1);
  const protectedPaths = new Set([newest?.path, best === null ? undefined : join(outputDir, basename(best))]);
  const removable = complete.filter(({ path }) => !protectedPaths.has(path));
  const excess = Math.min(removable.length, complete.length - Math.max(limit, 1));
  const removed = removable.slice(0, Math.max(0, excess));
  for (const { path } of removed) removeDirectoryAtomically(path);
  return removed.map(({ path }) => basename(path));
}
