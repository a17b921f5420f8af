import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const repository = fileURLToPath(new URL("../../../../", import.meta.url));
const program = fileURLToPath(new URL("../../bin/fms-accel.js", import.meta.url));

/** A file of the bundled example. */
export function example(path: string): string {
  return `${repository}examples/tiny-world/${path}`;
}

export interface Finished {
  readonly code: number | null;
  readonly signal: string | null;
  readonly output: string;
  readonly notes: string;
}

export interface Running {
  readonly child: ChildProcess;
  /** What was printed on standard error so far. */
  readonly notes: () => string;
  readonly finished: Promise<Finished>;
}

/** Starts the built command in a process of its own, as a user does. */
export function start(
  argv: readonly string[],
  options: { input?: string; env?: Record<string, string>; cwd?: string } = {},
): Running {
  if (!existsSync(fileURLToPath(new URL("../../dist/command-line.js", import.meta.url)))) {
    throw new Error("These tests run the built command: npm run build");
  }
  const env = { ...process.env, NO_COLOR: "1", FMS_ACCEL_DEBUG: "0", ...options.env };
  const { cwd } = options;
  const child = spawn(process.execPath, [program, ...argv], { env, cwd, stdio: ["pipe", "pipe", "pipe"] });
  let output = "";
  let notes = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (notes += text));
  child.stdin.end(options.input ?? "");
  const finished = new Promise<Finished>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, output, notes }));
  });
  return { child, notes: () => notes, finished };
}

export function run(
  argv: readonly string[],
  options: { input?: string; env?: Record<string, string>; cwd?: string } = {},
): Promise<Finished> {
  return start(argv, options).finished;
}

/** Runs a command that must succeed; returns what it printed on standard output. */
export async function output(argv: readonly string[], options: { input?: string } = {}): Promise<string> {
  const { code, output: printed, notes } = await run(argv, options);
  if (code !== 0) throw new Error(`fms-accel ${argv.join(" ")}\nended with ${code}:\n${notes}`);
  return printed;
}

/** Flags of an object: `{ r: 4, target_modules: ["q_proj"] }` is `--r 4 --target_modules q_proj`. */
export function flags(values: Readonly<Record<string, string | number | readonly string[]>>): string[] {
  return Object.entries(values).flatMap(([name, value]) => [
    `--${name}`,
    ...(Array.isArray(value) ? (value as readonly string[]) : [String(value)]),
  ]);
}
