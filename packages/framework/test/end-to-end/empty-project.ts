import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { locatePackage } from "../../src/plugins/project.ts";

const repository = fileURLToPath(new URL("../../../../", import.meta.url));
const { packageManager } = JSON.parse(readFileSync(join(repository, "package.json"), "utf8")) as {
  packageManager: string;
};
const PNPM = ["npx", "--yes", packageManager] as const;

export interface Finished {
  readonly code: number | null;
  readonly output: string;
  readonly notes: string;
}

function execute([program = "", ...words]: readonly string[], cwd: string, timeout = 600_000): Finished {
  // A program that vitest runs would take this repository's package manager for its own.
  const own = Object.entries(process.env).filter(
    ([name]) => !/^(?:npm|pnpm)_|^PNPM_|^INIT_CWD$|^VITEST|^NODE_ENV$/i.test(name),
  );
  const env = { ...Object.fromEntries(own), NO_COLOR: "1", FMS_ACCEL_DEBUG: "0" };
  const { status, stdout, stderr } = spawnSync(program, words, { cwd, encoding: "utf8", env, timeout });
  return { code: status, output: stdout, notes: stderr };
}

/** Whether packages can be fetched: what the published ones depend on has to come from somewhere. */
export function hasRegistry(): boolean {
  return execute(["npm", "view", "picocolors", "version"], tmpdir(), 20_000).code === 0;
}

/** Packs packages as they would be published. Returns their tarballs, in the order of the folders. */
export function packPackages(folders: readonly string[]): string[] {
  return folders.map((folder) => {
    const target = mkdtempSync(join(tmpdir(), "fms-accel-pack-"));
    const { code, notes, output } = execute([...PNPM, "pack", "--pack-destination", target], join(repository, folder));
    const [tarball] = readdirSync(target);
    if (code !== 0 || tarball === undefined) throw new Error(`${folder} cannot be packed:\n${output}${notes}`);
    return join(target, tarball);
  });
}

/** The files of a tarball, without its folder `package/`. */
export function listTarball(tarball: string): string[] {
  const { output } = execute(["tar", "--list", "--gzip", "--file", tarball], tmpdir());
  return output
    .trim()
    .split("\n")
    .map((name) => name.replace(/^package\//, ""));
}

/** The package.json in a tarball. */
export function manifestOf(tarball: string): Record<string, unknown> {
  const { output } = execute(
    ["tar", "--extract", "--to-stdout", "--gzip", "--file", tarball, "package/package.json"],
    tmpdir(),
  );
  return JSON.parse(output) as Record<string, unknown>;
}

/** A project outside of this repository, in which packages are installed by one package manager. */
export class EmptyProject {
  readonly folder: string;
  readonly #manager: "npm" | "pnpm";

  constructor(manager: "npm" | "pnpm") {
    this.folder = realpathSync(mkdtempSync(join(tmpdir(), `fms-accel-${manager}-`)));
    this.#manager = manager;
    this.write("package.json", JSON.stringify({ name: "project", private: true }));
  }

  write(name: string, content: string): void {
    writeFileSync(join(this.folder, name), content);
  }

  /** Adds tarballs; `inner` are those that the others depend on, and that no registry has. */
  add(tarballs: readonly string[], inner: readonly string[]): Finished {
    if (this.#manager === "npm") return this.#run(["npm", "install", "--prefer-offline", ...tarballs, ...inner]);
    const overrides = inner.map((tarball) => `  "${String(manifestOf(tarball)["name"])}": "file:${tarball}"\n`);
    this.write("pnpm-workspace.yaml", `overrides:\n${overrides.join("")}`);
    return this.#run([...PNPM, "add", "--prefer-offline", ...tarballs]);
  }

  /** Lets cmake look at the sources of the engine as they were installed: it ends with an error if one is missing. */
  configureEngine(): Finished {
    const directory = this.#engine();
    const require = createRequire(join(directory, "package.json"));
    const cmake = join(dirname(require.resolve("cmake-js/package.json")), "bin", "cmake-js");
    return execute([process.execPath, cmake, "configure"], directory);
  }

  /** Puts this repository's build of the engine where `fms-accel build` would put it. */
  useBuiltEngine(): void {
    const file = join("build", "Release", "fms_accel_tensor.node");
    const target = join(this.#engine(), file);
    mkdirSync(dirname(target), { recursive: true });
    cpSync(join(repository, "packages", "tensor", file), target);
  }

  /** Adds a plugin by the project's own `fms-accel install`, started by the package manager, which is not always a command of its own. */
  install(plugin: string): Finished {
    const start = this.#manager === "npm" ? ["npx", "--no-install"] : [...PNPM, "exec"];
    return this.#run([...start, "fms-accel", "install", plugin]);
  }

  /** Runs the project's own `fms-accel`. */
  fmsAccel(...words: string[]): Finished {
    return this.#run([join(this.folder, "node_modules", ".bin", "fms-accel"), ...words]);
  }

  /** As `fmsAccel`, for a command that must succeed; returns all that was printed. */
  succeed(...words: string[]): string {
    const { code, output, notes } = this.fmsAccel(...words);
    if (code !== 0) throw new Error(`fms-accel ${words.join(" ")}\nended with ${code}:\n${output}${notes}`);
    return output + notes;
  }

  #engine(): string {
    const framework = locatePackage("@fms-accel/framework", this.folder);
    const tensor = framework === undefined ? undefined : locatePackage("@fms-accel/tensor", framework);
    if (tensor === undefined) throw new Error("the engine's package is not installed");
    return tensor;
  }

  #run(words: readonly string[]): Finished {
    return execute(words, this.folder);
  }
}
