import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const packageFolder = fileURLToPath(new URL("../../", import.meta.url));

/** Where sample configurations and benchmark scenarios lie: at the root of the repository, else in the published package. */
function bundleFolder(): string {
  const repository = join(packageFolder, "..", "..");
  return existsSync(join(repository, "pnpm-workspace.yaml")) ? repository : packageFolder;
}

/** A file that comes with the package, by its path in the repository. */
export function bundledFile(...parts: string[]): string {
  return join(bundleFolder(), ...parts);
}

/** The benchmark scenarios that come with the package, the original's main file first. */
export function scenarioFiles(): string[] {
  const folder = bundledFile("scripts", "benchmarks");
  const names = readdirSync(folder).filter((name) => /^scenarios.*\.yaml$/.test(name));
  const others = names.filter((name) => name !== "scenarios.yaml").toSorted((a, b) => a.localeCompare(b));
  return ["scenarios.yaml", ...others].map((name) => join(folder, name));
}
