import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import type { CommandDefinition } from "../cli/command-definition.ts";
import { printLine, type Colors, type Terminal } from "../cli/terminal.ts";
import { formatBytes } from "../terminal/numbers.ts";
import {
  inspect,
  type DoctorReport,
  type EngineDescription,
  type Finding,
  type Surroundings,
} from "./doctor-report.ts";

const require = createRequire(import.meta.url);

function packageVersion(name: string): string | undefined {
  try {
    return (require(`${name}/package.json`) as { version: string }).version;
  } catch {
    // A package that is not installed has no version; `loadPackages` says why.
    return undefined;
  }
}

/**
 * Imports a package in a process of its own, where a broken native library can do no harm, and returns the value of an expression over
 * `loaded`, the package.
 */
function probe(name: string, expression: string): string {
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

const realSurroundings: Surroundings = {
  nodeVersion: process.versions.node,
  platform: `${process.platform} ${process.arch}`,
  environment: process.env,
  loadEngine: async () =>
    JSON.parse(probe("@fms-accel/tensor", "JSON.stringify(loaded.engineInfo())")) as EngineDescription,
  loadPackages: async () => {
    probe("@fms-accel/trainer", "typeof loaded");
  },
  packageVersion,
  hasCommand: (command) => spawnSync(command, ["--version"], { stdio: "ignore" }).status === 0,
};

/** This command imports nothing of the lower packages statically: it has to say what is wrong when they do not load. */
export const doctorCommand: CommandDefinition = {
  positionals: [],
  groups: [
    {
      heading: "Flags",
      rows: [{ name: "json", type: "boolean", default: false, help: "Print one JSON object." }],
    },
  ],
  examples: ["fms-accel doctor"],
  async run(invocation, terminal): Promise<number> {
    const report = await inspect(realSurroundings);
    if (invocation.flags.some(({ name, value }) => name === "json" && value !== "false")) {
      printLine(terminal.output, JSON.stringify(report, null, 2));
    } else printReport(report, terminal);
    return report.healthy ? 0 : 1;
  },
};

export function printReport(report: DoctorReport, { output, colors }: Terminal): void {
  const line = (mark: string, subject: string, text: string): void => {
    printLine(output, `${mark} ${subject.padEnd(13)} ${text}`);
  };
  const { cpu, memory } = report;
  line(" ", "machine", `${report.platform}, ${cpu.model}, ${cpu.cores} processors`);
  line(" ", "memory", `${formatBytes(memory.freeBytes)} free of ${formatBytes(memory.totalBytes)}`);
  for (const finding of report.findings) {
    line(markOf(finding, colors), finding.subject, finding.text);
    if (finding.remedy !== undefined) line(" ", "", colors.bold(`→ ${finding.remedy}`));
  }
  const versions = Object.entries(report.packages).map(([name, version]) => `${name} ${version ?? "not found"}`);
  line(" ", "versions", versions.join(", "));
  printLine(output);
  printLine(
    output,
    report.healthy
      ? colors.green("Everything is in place.")
      : colors.red("Something is missing: follow the arrows above."),
  );
}

function markOf({ level }: Finding, colors: Colors): string {
  return level === "ok" ? colors.green("✓") : level === "hint" ? colors.yellow("!") : colors.red("✗");
}
