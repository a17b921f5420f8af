// What the comparisons with the peer share: programs that print a last line of JSON, and the figures kept in refs/.
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("..", import.meta.url));

/**
 * Runs a program in this package's folder and gives the lines that it prints.
 *
 * @param {string} command
 * @param {readonly string[]} flags
 * @param {string} threads of our engine
 * @returns {string[]}
 */
export function runProgram(command, flags, threads) {
  const result = spawnSync(command, flags, {
    cwd: ROOT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, FMS_ACCEL_NUM_THREADS: threads },
  });
  if (result.status !== 0)
    throw new Error(`${command} ${flags.join(" ")} ended with ${result.status ?? result.signal}`);
  return result.stdout.trim().split("\n");
}

/** @param {string | undefined} python */
export function sayIfPeerIsSkipped(python) {
  if (python === undefined)
    console.log("the peer was skipped: give --python, a virtual environment with peer/requirements.txt");
}

/**
 * Writes rows of one form as a table separated by semicolons.
 *
 * @param {string | undefined} name a file of refs/, or an absolute path; nothing is written without it
 * @param {readonly Record<string, unknown>[]} rows
 */
export function writeFigures(name, rows) {
  if (name === undefined) return;
  const path = resolve(ROOT, "refs", name);
  mkdirSync(dirname(path), { recursive: true });
  const columns = Object.keys(rows[0] ?? {});
  const lines = rows.map((row) => columns.map((column) => JSON.stringify(row[column] ?? "")).join(";"));
  writeFileSync(path, `${[columns.join(";"), ...lines].join("\n")}\n`);
}
