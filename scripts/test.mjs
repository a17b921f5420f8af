// `npm test`: install, build, then every check of the repository. The last line is `N passed, N failed`.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { ROOT, bold, coloured, dim, green, hasCommand, prepare, red, runScript } from "./prepare.mjs";

const RESULTS = join(ROOT, "out", "vitest.json");
const counts = { passed: 0, failed: 0, skipped: 0 };

/** Runs a program with its output on the screen; without colours where this script has none. */
function runVisibly(command, commandArguments, environment = {}) {
  return new Promise((resolve) => {
    const env = { ...process.env, ...(coloured ? {} : { NO_COLOR: "1" }), ...environment };
    const child = spawn(command, commandArguments, { cwd: ROOT, stdio: "inherit", env });
    child.on("error", (error) => {
      console.error(error.message);
      resolve(1);
    });
    child.on("close", (code) => resolve(code ?? 1));
  });
}

/** One check that counts as one test: it passes when the program ends with 0. */
async function check(title, command, commandArguments) {
  console.log(`\n${bold(title)}`);
  const code = await runVisibly(command, commandArguments);
  counts[code === 0 ? "passed" : "failed"] += 1;
  console.log(code === 0 ? green("passed") : red(`failed: ${[command, ...commandArguments].join(" ")}`));
}

function skip(title, reason) {
  console.log(`\n${bold(title)}\nskipped: ${reason}`);
  counts.skipped += 1;
}

const tool = (name) => join(ROOT, "node_modules", ".bin", name);

async function checkNativeFormat() {
  const title = "native code is formatted (clang-format)";
  if (!hasCommand("clang-format"))
    return skip(title, "clang-format is missing. On Debian: sudo apt-get install clang-format");
  const listed = spawnSync("git", ["ls-files", "*.cc", "*.cpp", "*.h", "*.cu", "*.cuh"], {
    cwd: ROOT,
    encoding: "utf8",
  });
  if (listed.status !== 0) return skip(title, "this is not a git checkout, so there is no list of files");
  await check(title, "clang-format", ["--dry-run", "-Werror", ...listed.stdout.trim().split("\n")]);
}

/** Counts vitest's own report; a file that could not even be loaded counts as one failure. */
async function runVitest(title, paths = [], environment = {}) {
  console.log(`\n${bold(title)}`);
  rmSync(RESULTS, { force: true });
  const flags = ["run", "--reporter=default", "--reporter=json", `--outputFile.json=${RESULTS}`];
  const code = await runVisibly(tool("vitest"), [...flags, ...paths], environment);
  if (!existsSync(RESULTS)) {
    counts.failed += 1;
    console.log(red("vitest wrote no report"));
    return;
  }
  const report = JSON.parse(readFileSync(RESULTS, "utf8"));
  const unloadable = report.testResults.filter(
    ({ status, assertionResults }) => status === "failed" && assertionResults.length === 0,
  );
  counts.passed += report.numPassedTests;
  counts.failed += report.numFailedTests + unloadable.length;
  counts.skipped += report.numPendingTests + report.numTodoTests;
  if (code !== 0 && report.numFailedTests + unloadable.length === 0) counts.failed += 1;
  for (const { name, assertionResults } of report.testResults) {
    for (const { status, fullName } of assertionResults) {
      if (status === "failed") console.log(red(`failed: ${relative(ROOT, name)}: ${fullName}`));
      else if (status !== "passed") console.log(dim(`skipped: ${relative(ROOT, name)}: ${fullName}`));
    }
  }
}

const onCuda = (emulator) => ({ FMS_ACCEL_CUDA_EMULATOR: emulator, FMS_ACCEL_TEST_DEVICE: "cuda" });

const PACKING = "attention-and-distributed-packing";
const ofModels = (name) => `packages/models/test/${name}`;
const ofPacking = (name) => `packages/${PACKING}/test/${name}`;

const emulation = (folder) => [
  "--build",
  folder,
  "--config",
  "Release",
  "--parallel",
  "2",
  "--target",
  "cuda_emulation",
];

/** The same tests with their tensors on a cuda device that the CPU emulates, and some with the emulator's detector of races. */
async function runEmulated() {
  const [build, packingBuild] = ["tensor", PACKING].map((name) => join(ROOT, "packages", name, "build"));
  await check("the cuda device over its emulator (cmake)", "cmake", emulation(build));
  await check("the kernels of variable-length attention over it (cmake)", "cmake", emulation(packingBuild));
  const lower = [
    "packages/tensor/test",
    ...["architectures/goldens", "architectures/bfloat16", "architectures/sequence-identity", "layers", "rope"].map(
      ofModels,
    ),
    ...["peft/lora-golden", "peft/lora-linear", "peft/lora-embedding", "generation/generation-golden"].map(ofModels),
    ...["cuda", "optimizer", "training/curves"].map((name) => `packages/trainer/test/${name}`),
    ...["cuda", "variable-length-attention", "padding-free", "data/packed-loss", "data/multipack-training"].map(
      ofPacking,
    ),
  ];
  await runVitest("tests on the emulated cuda device", lower, onCuda("1"));
  const cublasLt = { ...onCuda("1"), FMS_ACCEL_CUBLASLT: join(build, "Release", "libfake_cublaslt.so") };
  const products = ["cuda/cublaslt", "matmul", "low-rank-linear"].map((name) => `packages/tensor/test/${name}.test.ts`);
  await runVitest("products by what stands in for cuBLASLt", products, cublasLt);
  const raced = [
    ...["cuda/products", "softmax", "cross-entropy", "adamw", "clip-grad-norm", "rms-norm"].map(
      (name) => `packages/tensor/test/${name}.test.ts`,
    ),
    ofPacking("cuda/kernels.test.ts"),
  ];
  await runVitest("races and accesses out of bounds in its kernels", raced, onCuda("checked"));
}

function printTotals() {
  const skipped = counts.skipped === 0 ? "" : `, ${counts.skipped} skipped`;
  console.log(`\n${counts.passed} passed, ${counts.failed} failed${skipped}`);
  if (counts.failed > 0) process.exitCode = 1;
}

await runScript(async () => {
  mkdirSync(join(ROOT, "out"), { recursive: true });
  try {
    await prepare();
    counts.passed += 1;
  } catch (error) {
    console.error(`\n${red(String(error?.message ?? error))}`);
    counts.failed += 1;
    return printTotals();
  }
  await check("types of sources and tests (tsc)", tool("tsc"), ["-p", "tsconfig.test.json"]);
  await check("lint (oxlint)", tool("oxlint"), ["--type-aware"]);
  await check("format (oxfmt)", tool("oxfmt"), ["--check"]);
  await checkNativeFormat();
  await runVitest("tests");
  await runEmulated();
  printTotals();
});
