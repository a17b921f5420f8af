import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { CommandDefinition } from "../cli/command-definition.ts";
import type { FlagRow } from "../cli/flag-table.ts";
import { printLine, type Terminal } from "../cli/terminal.ts";
import { UsageError } from "../errors.ts";
import { hasCommand, installToolsRemedy, missingBuildTools } from "../native/build-tools.ts";
import { compileCommand, nativePackages, type NativePackage } from "../native/native-packages.ts";
import { probe } from "../native/probe.ts";

/** Lines of a failed build that are shown; all of it is in the log. */
const SHOWN_LINES = 30;

const ownRows: readonly FlagRow[] = [
  {
    name: "jobs",
    type: "integer",
    default: null,
    minimum: 1,
    help: "Files compiled at once; all processors if left out.",
  },
  { name: "force", type: "boolean", default: false, help: "Compile everything afresh." },
];

/** This command imports nothing of the lower packages: they do not load before it has run. */
export const buildCommand: CommandDefinition = {
  positionals: [],
  groups: [{ heading: "Flags", rows: ownRows }],
  examples: ["fms-accel build"],

  async run({ flags }, terminal): Promise<number> {
    const given = new Map(flags.map(({ name, value }) => [name, value]));
    const jobs = Number(given.get("jobs") ?? availableParallelism());
    if (!Number.isInteger(jobs) || jobs < 1) throw new UsageError(`--jobs: expected a whole number of at least 1.`);
    const afresh = given.has("force") && !/^(?:false|no|0)$/i.test(String(given.get("force")));
    await buildNativePackages(nativePackages(process.cwd()), { jobs, afresh }, terminal);
    const { isa, threads } = JSON.parse(probe("@fms-accel/tensor", "JSON.stringify(loaded.engineInfo())")) as {
      isa: string;
      threads: number;
    };
    printLine(terminal.output, `The engine is ready: ${isa}, ${threads} threads.`);
    return 0;
  },
};

/**
 * Compiles native packages, one after the other; what is up to date is left as it is.
 *
 * @throws UsageError where packages are no folders, when a tool is missing or a compilation fails, with the end of what the compiler said
 */
export async function buildNativePackages(
  packages: readonly NativePackage[],
  { jobs, afresh }: { readonly jobs: number; readonly afresh: boolean },
  terminal: Terminal,
): Promise<void> {
  if (packages.length > 0 && process.versions["pnp"] !== undefined) {
    throw new UsageError(
      "native code cannot be compiled where Yarn's Plug'n'Play keeps packages: in archives, which no compiler reads. " +
        'Set "nodeLinker: node-modules" in .yarnrc.yml, run yarn install, and call this again.',
    );
  }
  const missing = missingBuildTools(hasCommand);
  if (missing.length > 0) {
    const tools = missing.map(({ tool }) => tool).join(", ");
    throw new UsageError(
      [`native code is compiled on this machine, and ${tools} cannot be found.`, ...installToolsRemedy(missing)].join(
        "\n  ",
      ),
    );
  }
  for (const native of packages) await compile(native, compileCommand(native, jobs, afresh), terminal);
}

async function compile(
  { packageName, directory }: NativePackage,
  [program = "", ...words]: readonly string[],
  { notes, noteColors }: Terminal,
): Promise<void> {
  const onTerminal = notes.isTTY === true;
  const show = (state: string, end = "\n"): void => {
    notes.write(`${onTerminal ? "\r\u001B[K" : ""}compiling ${packageName} … ${state}${end}`);
  };
  show("", onTerminal ? "" : "\n");
  let output = "";
  const code = await new Promise<number>((resolve, reject) => {
    const child = spawn(program, words, { cwd: directory, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        const percent = /^\[ *(\d+%)\]/m.exec(text)?.[1];
        if (onTerminal && percent !== undefined) show(percent, "");
      });
    }
    child.on("error", reject);
    child.on("close", (status) => resolve(status ?? 1));
  });
  if (code === 0) return show(noteColors.green("done"));
  show(noteColors.red("failed"));
  const log = join(directory, "build", "compile.log");
  mkdirSync(join(directory, "build"), { recursive: true });
  writeFileSync(log, output);
  const tail = output.trimEnd().split("\n").slice(-SHOWN_LINES).join("\n");
  throw new UsageError(
    `${packageName} could not be compiled; everything that the compiler said is in ${log}. Its end:\n${tail}`,
  );
}
