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
import { hasCommand } from "../native/build-tools.ts";
import { packageVersion, probe } from "../native/probe.ts";

const realSurroundings: Surroundings = {
  nodeVersion: process.versions.node,
  platform: `${process.platform} ${process.arch}`,
  environment: process.env,
  loadEngine: async () =>
    JSON.parse(
      probe("@fms-accel/tensor", "JSON.stringify({ ...loaded.engineInfo(), cuda: loaded.cudaStatus() })"),
    ) as EngineDescription,
  loadPackages: async () => {
    probe("@fms-accel/trainer", "typeof loaded");
  },
  packageVersion,
  hasCommand,
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
