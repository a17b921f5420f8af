import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(import.meta.url);

/** The version of an installed package; `undefined` where it is not installed. */
export function packageVersion(name: string): string | undefined {
  try {
    return (require(`${name}/package.json`) as { version: string }).version;
  } catch {
    // A package that is not installed has no version; importing it says why.
    return undefined;
  }
}

/**
 * Imports a package in a process of its own, where a broken native library can do no harm, and returns the value of an expression over
 * `loaded`, the package.
 */
export function probe(name: string, expression: string): string {
  const entry = pathToFileURL(require.resolve(name)).href;
  const program = `const loaded = await import(${JSON.stringify(entry)}); process.stdout.write(${expression});`;
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", program], {
    encoding: "utf8",
    timeout: 60_000,
  });
  if (status === 0) return stdout;
  if (signal !== null) throw new Error(`${name}: loading it ended the process with ${signal}`);
  const message = stderr.split("\n").find((line) => /^\w*Error\b.*: /.test(line));
  throw new Error(message?.replace(/^[^:]*: /, "") ?? `${name} does not load: ${stderr.trim()}`);
}
