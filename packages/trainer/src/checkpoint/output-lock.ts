import { mkdirSync, readFileSync, renameSync, rmdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { sumOverRanks, type Communicator } from "../communicator.ts";
import { TrainingError } from "../errors.ts";

/** In an output folder while a process writes there. */
export const LOCK_FILE = ".fms-accel.lock";
/** A process touches its lock so often, and is taken for gone when it has not for so long, where nothing else tells. */
const HEARTBEAT_MS = 20_000;
const SILENCE_MS = 10 * 60_000;
/** Two processes that find the same left-over lock both write theirs within this time; the later one stays. */
const TAKEOVER_MS = 250;

interface LockHolder {
  readonly pid: number;
  readonly host: string;
  /** When the process started, in the system's own unit; tells it from a later one with its number. "" where the system does not say. */
  readonly started: string;
  readonly since: string;
}

const holderSchema: z.ZodType<LockHolder> = z.object({
  pid: z.int(),
  host: z.string(),
  started: z.string(),
  since: z.string(),
});

/**
 * Calls `body` while this process is the one that writes into an output folder. A lock whose process is gone, after kill -9 or a crash, is
 * taken over, which is said. Calls inside of `body` for the same folder are part of it.
 *
 * @param say gets a line when a lock is taken over
 * @throws TrainingError naming the process that writes there, or why the folder cannot be written
 */
export async function withOutputLock<Result>(
  outputDir: string,
  say: (line: string) => void,
  body: () => Promise<Result>,
): Promise<Result> {
  const path = join(outputDir, LOCK_FILE);
  const isNew = makeDirectory(outputDir);
  if (!(await acquire(path, outputDir, say))) return body();
  const release = (): void => {
    const holder = readHolder(path);
    if (holder !== undefined && isThisProcess(holder)) rmSync(path, { force: true });
    if (isNew) removeIfEmpty(outputDir);
  };
  const heartbeat = setInterval(() => touch(path), HEARTBEAT_MS).unref();
  process.once("exit", release);
  try {
    return await body();
  } finally {
    clearInterval(heartbeat);
    process.off("exit", release);
    release();
  }
}

/**
 * `withOutputLock` for the ranks of one run: rank 0, which writes, takes the folder for all of them. Collective until `body` is called.
 *
 * @throws TrainingError on every rank when rank 0 cannot have the folder
 */
export async function withSharedOutputLock<Result>(
  outputDir: string,
  communicator: Communicator,
  say: (line: string) => void,
  body: () => Promise<Result>,
): Promise<Result> {
  const tell = (isRefused: boolean): Promise<number> => sumOverRanks(communicator, Number(isRefused));
  if (communicator.rank > 0) {
    if ((await tell(false)) > 0) throw new TrainingError(`Rank 0 cannot write output_dir ${outputDir}; it says why.`);
    return body();
  }
  let isTaken = false;
  try {
    return await withOutputLock(outputDir, say, async () => {
      isTaken = true;
      await tell(false);
      return body();
    });
  } catch (error) {
    if (!isTaken) await tell(true);
    throw error;
  }
}

/** @returns whether the lock is new; else this process has it already */
async function acquire(path: string, outputDir: string, say: (line: string) => void): Promise<boolean> {
  const own = JSON.stringify({
    pid: process.pid,
    host: hostname(),
    started: ownStart(),
    since: new Date().toISOString(),
  } satisfies LockHolder);
  try {
    writeFileSync(path, own, { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw unwritable(outputDir, error);
  }
  const holder = readHolder(path);
  if (holder !== undefined && isThisProcess(holder)) return false;
  const silence = silenceOf(path);
  if (silence !== undefined && isAlive(holder, silence)) throw occupied(path, outputDir, holder);
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, own);
  renameSync(temporary, path);
  await sleep(TAKEOVER_MS);
  const winner = readHolder(path);
  if (winner === undefined || !isThisProcess(winner)) throw occupied(path, outputDir, winner);
  const who = holder === undefined ? "a process" : `process ${holder.pid} on ${holder.host}`;
  say(
    `${outputDir} was being written by ${who}, which is gone without having finished; this run takes the folder over.`,
  );
  return true;
}

/** On this machine a process is there or not; of others, and of a lock that is just being written, the last sign of life tells. */
function isAlive(holder: LockHolder | undefined, silence: number): boolean {
  if (holder === undefined) return silence < HEARTBEAT_MS;
  if (holder.host !== hostname()) return silence < SILENCE_MS;
  const found = processState(holder.pid);
  // A later process may have got the number of one that is gone; one that its parent has not noticed is gone too.
  if (found !== undefined && holder.started !== "") return found.started === holder.started && !found.ended;
  try {
    return process.kill(holder.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function isThisProcess({ pid, host, started }: LockHolder): boolean {
  return pid === process.pid && host === hostname() && started === ownStart();
}

function ownStart(): string {
  return processState(process.pid)?.started ?? "";
}

/**
 * From Linux's /proc/PID/stat, behind the name, which may hold blanks and parentheses: the state (field 3) and the start in ticks since the
 * machine started (field 22). `undefined` on other systems, and where there is no such process.
 */
function processState(pid: number): { readonly started: string; readonly ended: boolean } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return { started: fields[19] ?? "", ended: fields[0] === "Z" || fields[0] === "X" };
  } catch {
    return undefined;
  }
}

/** `undefined` for a lock that is gone, or that is not whole. */
function readHolder(path: string): LockHolder | undefined {
  try {
    return holderSchema.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    return undefined;
  }
}

/** Milliseconds since the lock was touched; `undefined` when it is gone. */
function silenceOf(path: string): number | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? undefined : Date.now() - stat.mtimeMs;
}

/** @returns whether there was none */
function makeDirectory(directory: string): boolean {
  try {
    return mkdirSync(directory, { recursive: true }) !== undefined;
  } catch (error) {
    throw unwritable(directory, error);
  }
}

function unwritable(outputDir: string, error: unknown): TrainingError {
  const { code, message } = error as NodeJS.ErrnoException;
  const reason = code === "EEXIST" || code === "ENOTDIR" ? "there is a file of this name" : message;
  return new TrainingError(`output_dir ${outputDir} cannot be written: ${reason}. Name another folder.`, {
    cause: error,
  });
}

/** A run that came to nothing leaves nothing. */
function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // Something is in it.
  }
}

function touch(path: string): void {
  try {
    utimesSync(path, new Date(), new Date());
  } catch {
    // Somebody removed the lock, or the folder: the run goes on, and the files that it writes say what is wrong.
  }
}

function occupied(path: string, outputDir: string, holder: LockHolder | undefined): TrainingError {
  const who =
    holder === undefined
      ? "another process"
      : `process ${holder.pid} on ${holder.host === hostname() ? "this machine" : `the machine ${holder.host}`}, since ${holder.since}`;
  return new TrainingError(
    `${outputDir} is being written by ${who}. Give this run an output_dir of its own, or end that one first ` +
      `(if it is gone, remove ${path}).`,
  );
}
