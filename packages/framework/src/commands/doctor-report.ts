import { missingBuildTools } from "../native/build-tools.ts";
import { formatBytes } from "../terminal/numbers.ts";
import { availableParallelism, cpus, freemem, totalmem } from "node:os";

/** What `engineInfo()` of @fms-accel/tensor says. */
export interface EngineDescription {
  readonly version: string;
  readonly abiVersion: string | number;
  readonly isa: string;
  readonly availableIsas: readonly string[];
  readonly threads: number;
  readonly buildType: string;
  readonly compiler?: string;
  /** What `cudaStatus()` says. */
  readonly cuda?: CudaDescription;
}

export interface CudaDescription {
  readonly build: string;
  readonly architectures: string;
  readonly cublasLt: string;
  readonly driverVersion: number;
  readonly devices: readonly {
    readonly name: string;
    readonly capability: string;
    readonly totalBytes: number;
    readonly freeBytes: number;
  }[];
  readonly problem: string;
}

/** One finding. `problem` needs the user, `hint` is worth knowing. */
export interface Finding {
  readonly level: "ok" | "hint" | "problem";
  readonly subject: string;
  readonly text: string;
  /** What to do about it. */
  readonly remedy?: string;
}

export interface DoctorReport {
  readonly healthy: boolean;
  readonly node: string;
  readonly platform: string;
  readonly cpu: { readonly model: string; readonly cores: number };
  readonly memory: { readonly totalBytes: number; readonly freeBytes: number };
  readonly engine: EngineDescription | undefined;
  readonly packages: Readonly<Record<string, string | undefined>>;
  readonly findings: readonly Finding[];
}

/** Where the report's facts come from; tests give their own. */
export interface Surroundings {
  readonly nodeVersion: string;
  readonly platform: string;
  readonly environment: NodeJS.ProcessEnv;
  loadEngine(): Promise<EngineDescription>;
  /** Loads everything above the engine (tokenizers among it). */
  loadPackages(): Promise<void>;
  packageVersion(name: string): string | undefined;
  hasCommand(command: string): boolean;
}

const NEEDED_NODE = [20, 17] as const;
/** Best first, with what the best use is. */
const instructionSets: readonly (readonly [isa: string, meaning: string])[] = [
  ["avx512_bf16", "AVX-512 with bfloat16 products"],
  ["avx512", "AVX-512"],
  ["avx2", "AVX2"],
  ["portable", "plain C++"],
];

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Looks at the machine and at what is built. */
export async function inspect(surroundings: Surroundings): Promise<DoctorReport> {
  const findings: Finding[] = [checkNode(surroundings.nodeVersion)];
  const engine = await surroundings.loadEngine().catch((error: unknown) => {
    findings.push(engineMissing(messageOf(error), surroundings));
    return undefined;
  });
  if (engine !== undefined) {
    findings.push(...describeEngine(engine, surroundings.environment));
    await surroundings.loadPackages().then(
      () => findings.push({ level: "ok", subject: "packages", text: "models, tokenizers and trainer load" }),
      (error: unknown) => {
        const remedy = "In the repository: npx pnpm@12.21.0 install --frozen-lockfile && npm run build";
        findings.push({ level: "problem", subject: "packages", text: messageOf(error), remedy });
      },
    );
  }
  const names = ["tensor", "models", "trainer", "framework"].map((folder) => `@fms-accel/${folder}`);
  const processors = cpus();
  return {
    healthy: findings.every(({ level }) => level !== "problem"),
    node: surroundings.nodeVersion,
    platform: surroundings.platform,
    cpu: { model: processors[0]?.model.trim() ?? "unknown", cores: processors.length },
    memory: { totalBytes: totalmem(), freeBytes: freemem() },
    engine,
    packages: Object.fromEntries(names.map((name) => [name, surroundings.packageVersion(name)])),
    findings,
  };
}

function checkNode(version: string): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const enough = major > NEEDED_NODE[0] || (major === NEEDED_NODE[0] && minor >= NEEDED_NODE[1]);
  if (enough) return { level: "ok", subject: "Node.js", text: version };
  return {
    level: "problem",
    subject: "Node.js",
    text: `${version} is too old`,
    remedy: `Install Node.js ${NEEDED_NODE.join(".")} or newer: https://nodejs.org/en/download`,
  };
}

function engineMissing(message: string, surroundings: Surroundings): Finding {
  const missing = missingBuildTools((command) => surroundings.hasCommand(command));
  const packages = missing.map(({ debianPackage }) => debianPackage).join(" ");
  const remedy = `${packages === "" ? "" : `sudo apt-get install -y ${packages} && `}npx fms-accel build`;
  return { level: "problem", subject: "engine", text: message, remedy };
}

function describeEngine(engine: EngineDescription, environment: NodeJS.ProcessEnv): Finding[] {
  const findings: Finding[] = [
    {
      level: "ok",
      subject: "engine",
      text: `${engine.version}, C ABI ${engine.abiVersion}, ${engine.buildType} build${engine.compiler === undefined ? "" : `, ${engine.compiler}`}`,
    },
  ];
  if (engine.buildType !== "Release") {
    const remedy = "npx fms-accel build --force";
    findings.push({ level: "hint", subject: "engine", text: `a ${engine.buildType} build is slow`, remedy });
  }
  findings.push(describeInstructionSet(engine, environment), describeThreads(engine, environment));
  if (engine.cuda !== undefined) findings.push(...describeCuda(engine.cuda));
  return findings;
}

/** A machine without a GPU is in order: what would help is a hint. */
function describeCuda({ build, architectures, cublasLt, devices, problem }: CudaDescription): Finding[] {
  if (problem !== "") {
    const compiled = build === "none" ? "" : `${build} is compiled in; `;
    return [{ level: "hint", subject: "cuda", text: `${compiled}no GPU is used: ${problem}` }];
  }
  const compiled = architectures === "" ? build : `${build} for compute capability ${architectures}`;
  return [
    { level: "ok", subject: "cuda", text: compiled },
    { level: "ok", subject: "cuBLASLt", text: cublasLt },
    { level: "ok", subject: "CUDA graphs", text: "train captures steps of repeating shapes with --cuda_graphs" },
    ...devices.map(({ name, capability, totalBytes, freeBytes }, index): Finding => {
      const memory = `${formatBytes(freeBytes)} free of ${formatBytes(totalBytes)}`;
      return { level: "ok", subject: `cuda:${index}`, text: `${name}, compute capability ${capability}, ${memory}` };
    }),
  ];
}

function describeInstructionSet(engine: EngineDescription, environment: NodeJS.ProcessEnv): Finding {
  const meaning = instructionSets.find(([isa]) => isa === engine.isa)?.[1] ?? engine.isa;
  const available = `this machine can use ${engine.availableIsas.join(", ")}`;
  const best = instructionSets.find(([isa]) => engine.availableIsas.includes(isa))?.[0];
  if (best !== undefined && best !== engine.isa) {
    const forced = environment["FMS_ACCEL_ISA"] === undefined ? "" : " because FMS_ACCEL_ISA says so";
    return {
      level: "hint",
      subject: "instructions",
      text: `${engine.isa} is used${forced}; ${available}`,
      remedy: "Unset FMS_ACCEL_ISA to use the fastest.",
    };
  }
  if (engine.isa === "portable") {
    return {
      level: "hint",
      subject: "instructions",
      text: "only portable code: no vector kernels for this processor, so training is slow",
      remedy: "Use a processor with AVX2 or AVX-512 if you can.",
    };
  }
  const bfloat16 =
    engine.isa === "avx512_bf16" ? "" : "; without bfloat16 instructions, --bf16 saves memory but not time";
  return { level: "ok", subject: "instructions", text: `${engine.isa} (${meaning}); ${available}${bfloat16}` };
}

function describeThreads(engine: EngineDescription, environment: NodeJS.ProcessEnv): Finding {
  const usable = availableParallelism();
  const setting = environment["FMS_ACCEL_NUM_THREADS"];
  const origin = setting === undefined ? "" : ` (FMS_ACCEL_NUM_THREADS=${setting})`;
  const text = `${engine.threads} of ${usable} that this process may use${origin}`;
  if (engine.threads <= usable) return { level: "ok", subject: "threads", text };
  const remedy = `More threads than processors wait for each other: set FMS_ACCEL_NUM_THREADS to ${usable} or less.`;
  return { level: "hint", subject: "threads", text, remedy };
}
