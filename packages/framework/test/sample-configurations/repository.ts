import { spawnSync } from "node:child_process";
import { cpSync, existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";

const repository = fileURLToPath(new URL("../../../../", import.meta.url));

/** A file of the repository, by its path from the root. */
export function repositoryPath(...parts: string[]): string {
  return join(repository, ...parts);
}

/** A YAML file of the repository as data. */
export function readYaml(...parts: string[]): unknown {
  return parse(readFileSync(repositoryPath(...parts), "utf8"));
}

/** Copies the sample fragments of every plugin into `folder/<plugin>/configs`, whether its package exists or not. */
export function copyFragments(folder: string): void {
  const waiting = repositoryPath("scripts", "sample-configurations", "fragments");
  for (const plugin of readdirSync(waiting))
    cpSync(join(waiting, plugin), join(folder, plugin, "configs"), { recursive: true });
  for (const plugin of readdirSync(repositoryPath("packages"))) {
    const own = repositoryPath("packages", plugin, "configs");
    if (existsSync(own)) cpSync(own, join(folder, plugin, "configs"), { recursive: true });
  }
}

/** Runs the generator of the sample configurations. */
export function generate(...flags: string[]): { code: number | null; errors: string } {
  const script = repositoryPath("scripts", "sample-configurations", "generate.mjs");
  const { status, stderr } = spawnSync(process.execPath, [script, ...flags], { encoding: "utf8" });
  return { code: status, errors: stderr };
}
