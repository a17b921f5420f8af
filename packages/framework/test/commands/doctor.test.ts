import { describe, expect, it } from "vitest";
import { doctorCommand, printReport } from "../../src/commands/doctor.ts";
import { inspect, type EngineDescription, type Surroundings } from "../../src/commands/doctor-report.ts";
import { captureTerminal } from "../cli/captured-terminal.ts";

const engine: EngineDescription = {
  version: "0.1.0",
  abiVersion: "1.0",
  isa: "avx512_bf16",
  availableIsas: ["avx512_bf16", "avx512", "avx2", "portable"],
  threads: 1,
  buildType: "Release",
};

const healthy: Surroundings = {
  nodeVersion: "20.20.2",
  platform: "linux x64",
  environment: {},
  loadEngine: async () => engine,
  loadPackages: async () => {},
  packageVersion: () => "0.1.0",
  hasCommand: () => true,
};

async function printed(surroundings: Surroundings): Promise<string> {
  const { terminal, output } = captureTerminal();
  printReport(await inspect(surroundings), terminal);
  return output();
}

describe("doctor", () => {
  it("says that everything is in place", async () => {
    const text = await printed(healthy);
    expect(text).toContain("Everything is in place.");
    expect(text).toContain(
      "avx512_bf16 (AVX-512 with bfloat16 products); this machine can use avx512_bf16, avx512, avx2, portable",
    );
    expect(text).toContain("@fms-accel/tensor 0.1.0");
  });

  it("shows GPUs with their memory and what kernels were compiled for", async () => {
    const gpu = { name: "NVIDIA H100", capability: "9.0", totalBytes: 80e9, freeBytes: 60e9 };
    const cuda = {
      build: "cuda 13.0",
      architectures: "80, 90a",
      cublasLt: "13.1.0 (libcublasLt.so.13)",
      driverVersion: 13000,
      devices: [gpu],
      problem: "",
    };
    const text = await printed({ ...healthy, loadEngine: async () => ({ ...engine, cuda }) });
    expect(text).toContain("✓ cuda          cuda 13.0 for compute capability 80, 90a");
    expect(text).toMatch(/✓ CUDA graphs +train captures steps of repeating shapes with --cuda_graphs/);
    expect(text).toMatch(/✓ cuda:0 +NVIDIA H100, compute capability 9\.0, 60 GB free of 80 GB/);
  });

  it("says why no GPU is used, and that the machine is in order all the same", async () => {
    const problem = "the NVIDIA driver supports CUDA 11.4, this build needs 13.0: update the driver";
    const cuda = { build: "cuda 13.0", architectures: "80", cublasLt: "", driverVersion: 11040, devices: [], problem };
    const report = await inspect({ ...healthy, loadEngine: async () => ({ ...engine, cuda }) });
    expect(report.healthy).toBe(true);
    const finding = report.findings.find(({ subject }) => subject === "cuda");
    expect(finding).toEqual({
      level: "hint",
      subject: "cuda",
      text: `cuda 13.0 is compiled in; no GPU is used: ${problem}`,
    });
  });

  it("names the packages to install when the engine is not built and the compiler is missing", async () => {
    const surroundings: Surroundings = {
      ...healthy,
      loadEngine: () => Promise.reject(new Error("the native engine is not built")),
      hasCommand: (command) => command === "make",
    };
    expect((await inspect(surroundings)).healthy).toBe(false);
    const text = await printed(surroundings);
    expect(text).toContain("✗ engine        the native engine is not built");
    expect(text).toContain("→ sudo apt-get install -y g++ cmake && npx fms-accel build");
  });

  it.each([
    ["an old Node.js", { nodeVersion: "18.19.0" }, "problem", "Install Node.js 20.17"],
    [
      "packages that do not load",
      { loadPackages: () => Promise.reject(new Error("no tokenizers")) },
      "problem",
      "install --frozen-lockfile",
    ],
    [
      "a forced instruction set",
      { loadEngine: async () => ({ ...engine, isa: "avx2" }), environment: { FMS_ACCEL_ISA: "avx2" } },
      "hint",
      "Unset FMS_ACCEL_ISA",
    ],
    [
      "no vector kernels",
      { loadEngine: async () => ({ ...engine, isa: "portable", availableIsas: ["portable"] }) },
      "hint",
      "AVX2 or AVX-512",
    ],
    [
      "a debug build",
      { loadEngine: async () => ({ ...engine, buildType: "Debug" }) },
      "hint",
      "npx fms-accel build --force",
    ],
    [
      "too many threads",
      { loadEngine: async () => ({ ...engine, threads: 4096 }), environment: { FMS_ACCEL_NUM_THREADS: "4096" } },
      "hint",
      "FMS_ACCEL_NUM_THREADS",
    ],
  ] as const)("says what to do about %s", async (_, change, level, remedy) => {
    const report = await inspect({ ...healthy, ...change });
    const finding = report.findings.find((found) => found.remedy?.includes(remedy));
    expect(finding?.level).toBe(level);
    expect(report.healthy).toBe(level === "hint");
  });

  it("prints JSON", async () => {
    const { terminal, output } = captureTerminal();
    await doctorCommand.run(
      { words: ["doctor", "--json"], positionals: [], flags: [{ name: "json", value: true, where: "--json" }] },
      terminal,
    );
    const report = JSON.parse(output()) as { node: string; findings: unknown[] };
    expect(report.node).toBe(process.versions.node);
    expect(report.findings.length).toBeGreaterThan(1);
  });
});
