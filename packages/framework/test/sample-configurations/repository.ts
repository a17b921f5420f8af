import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";

const repository = fileURLToPath(new URL("../../../../", import.meta.url));

/** A file of the repository, by its path from the root. */
export function repositoryPath(...parts: string[]): string {
  return join(repository, ...parts);
}

/** A YAML file of the repository as data; `Shape` is what the test expects it to be. */
export function readYaml<Shape>(...parts: string[]): Shape {
  return parse(readFileSync(repositoryPath(...parts), "utf8")) as Shape;
}

/** Runs the generator of the sample configurations. */
export function generate(...flags: string[]): { code: number | null; errors: string } {
  const script = repositoryPath("scripts", "sample-configurations", "generate.mjs");
  const { status, stderr } = spawnSync(process.execPath, [script, ...flags], { encoding: "utf8" });
  return { code: status, errors: stderr };
}
