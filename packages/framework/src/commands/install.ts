import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import type { CommandDefinition } from "../cli/command-definition.ts";
import type { FlagRow } from "../cli/flag-table.ts";
import { printLine, type Terminal } from "../cli/terminal.ts";
import { UsageError } from "../errors.ts";
import { pluginCatalogue } from "../plugins/catalogue.ts";
import { buildNativePackages } from "./build.ts";
import { isCompiled, nativePackages } from "../native/native-packages.ts";
import { addPackages, detectPackageManager, packageManagers, projectFolder } from "../plugins/package-manager.ts";
import { resolvePluginName } from "../plugins/plugin-names.ts";

/** What an installation depends on; tests give their own. */
export interface InstallSurroundings {
  readonly folder: string;
  readonly environment: NodeJS.ProcessEnv;
  /** Runs a program with its output on the screen; returns its exit code, `undefined` if there is no such program. */
  readonly run: (words: readonly string[], folder: string) => Promise<number | undefined>;
}

const rows: readonly FlagRow[] = [
  {
    name: "package_manager",
    type: "string",
    default: null,
    choices: packageManagers,
    help: "Used instead of the one that the project's package.json or lockfile names.",
  },
  {
    name: "compile",
    type: "boolean",
    default: true,
    help: "Compile native code that is not compiled yet, as `fms-accel build` does.",
  },
];

export const installCommand: CommandDefinition = {
  positionals: [["[plugin...]", "short names, package names, folders or tarballs; and flags of the package manager"]],
  groups: [{ heading: "Flags", rows }],
  examples: [
    "fms-accel install aadp",
    "fms-accel install foak --save-dev",
    "fms-accel install ./my-plugin-1.0.0.tgz @someone/their-plugin@^2",
  ],
  passesFlagsOn: true,
  positionalWords: () => pluginCatalogue.map(({ shortname }) => shortname),

  async run({ positionals, flags }, terminal): Promise<number> {
    const given = new Map(flags.map(({ name, value }) => [name, value]));
    const manager = given.get("package_manager");
    const surroundings = { folder: process.cwd(), environment: process.env, run: runVisibly };
    const chosen = typeof manager === "string" ? manager : undefined;
    const code = await installPlugins(positionals, chosen, surroundings, terminal);
    const compiles = !given.has("no_compile") && !/^(?:false|no|0)$/i.test(String(given.get("compile")));
    if (code !== 0 || !compiles) return code;
    const raw = nativePackages(process.cwd()).filter((native) => !isCompiled(native));
    await buildNativePackages(raw, { jobs: availableParallelism(), afresh: false }, terminal);
    return 0;
  },
};

/**
 * Adds plugins to the project by its own package manager.
 *
 * @param words plugins and flags, in the order in which the package manager gets them
 * @param manager a package manager, instead of the project's own
 * @returns the package manager's exit code
 * @throws UsageError
 */
export async function installPlugins(
  words: readonly string[],
  manager: string | undefined,
  { folder, environment, run }: InstallSurroundings,
  { notes, noteColors }: Terminal,
): Promise<number> {
  if (!words.some((word) => !word.startsWith("-"))) {
    throw new UsageError("no plugin is given. `fms-accel plugins` lists them.");
  }
  const project = projectFolder(folder);
  const chosen = packageManagers.find((name) => name === manager);
  if (manager !== undefined && chosen === undefined) {
    throw new UsageError(`--package_manager ${manager}: expected ${packageManagers.join(", ")}.`);
  }
  const { name, reason } =
    chosen === undefined
      ? detectPackageManager(project, environment)
      : { name: chosen, reason: "--package_manager says so" };
  const command = addPackages(
    name,
    words.map((word) => packageWord(word, folder)),
  );
  printLine(notes, `${noteColors.bold(command.join(" "))} ${noteColors.dim(`(${reason})`)}`);
  const code = await run(command, folder);
  if (code === undefined) {
    throw new UsageError(
      `${name} cannot be found. Install it (npm install --global ${name}), or take another package manager with --package_manager.`,
    );
  }
  if (code === 0) return code;
  printLine(notes, noteColors.red(`error: ${name} ended with exit code ${code}.`));
  const planned = pluginCatalogue.filter(
    ({ isAvailable, packageName }) => !isAvailable && command.some((word) => word.startsWith(packageName)),
  );
  for (const { packageName } of planned)
    printLine(notes, `${packageName} was not available yet when this version of fms-accel was made.`);
  return code;
}

/** What the package manager is given for a word: a flag or an address stays, a path is written as one, a short name is resolved. */
function packageWord(word: string, folder: string): string {
  if (word.startsWith("-") || word.includes(":")) return word;
  const path = resolve(folder, word);
  if (/^[.~/\\]/.test(word) || /\.(?:tgz|tar\.gz)$/.test(word)) {
    if (!word.startsWith("~") && !existsSync(path)) throw new UsageError(`${path} does not exist.`);
    return /^[.~/\\]/.test(word) ? word : `./${word}`;
  }
  const isCatalogued = pluginCatalogue.some(({ shortname }) => shortname === word);
  return !isCatalogued && existsSync(join(path, "package.json")) ? `./${word}` : resolvePluginName(word);
}

function runVisibly(words: readonly string[], folder: string): Promise<number | undefined> {
  const [program = "", ...rest] = words;
  return new Promise((done, reject) => {
    const child = spawn(program, rest, { cwd: folder, stdio: ["inherit", 2, "inherit"] });
    child.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") done(undefined);
      else reject(error);
    });
    child.on("close", (code) => done(code ?? 1));
  });
}
