// What both README commands do first: look at the machine, install the dependencies, build TypeScript and native code.
// Only Node.js built-ins: this runs in a fresh clone, before anything is installed.
import { spawn, spawnSync } from "node:child_process";
import { appendFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { findAddonFault, nativePackages } from "./native-addons.mjs";

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const LOG = join(ROOT, "out", "build.log");
const PNPM = "pnpm@12.21.0";
const NEEDED_NODE = [20, 17];

/** Each tool, the commands that may provide it, and the Debian package that brings it. */
const TOOLS = [
  { tool: "g++", commands: [process.env.CXX, "g++", "c++", "clang++"], debianPackage: "g++" },
  { tool: "make", commands: ["make", "gmake"], debianPackage: "make" },
  { tool: "cmake", commands: ["cmake"], debianPackage: "cmake" },
];

const interactive = process.stdout.isTTY;
export const coloured = interactive && !process.env.NO_COLOR;
export const bold = (text) => (coloured ? `\x1b[1m${text}\x1b[22m` : text);
export const dim = (text) => (coloured ? `\x1b[2m${text}\x1b[22m` : text);
export const green = (text) => (coloured ? `\x1b[32m${text}\x1b[39m` : text);
export const red = (text) => (coloured ? `\x1b[31m${text}\x1b[39m` : text);

/** A step that cannot go on; the message says what to do. */
export class PreparationError extends Error {}

/** @param {string} command */
export function hasCommand(command) {
  return spawnSync(command, ["--version"], { stdio: "ignore" }).status === 0;
}

export function checkMachine() {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major < NEEDED_NODE[0] || (major === NEEDED_NODE[0] && minor < NEEDED_NODE[1])) {
    throw new PreparationError(
      `Node.js ${NEEDED_NODE.join(".")} or newer is needed; this is ${process.versions.node}. See https://nodejs.org/en/download`,
    );
  }
  const missing = TOOLS.filter(({ commands }) => !commands.some((command) => command && hasCommand(command)));
  if (missing.length === 0) return;
  const packages = missing.map(({ debianPackage }) => debianPackage).join(" ");
  throw new PreparationError(
    [
      `The native engine is compiled on this machine, and ${missing.map(({ tool }) => tool).join(", ")} cannot be found.`,
      `  Debian, Ubuntu:  sudo apt-get update && sudo apt-get install -y ${packages}`,
      `  Fedora:          sudo dnf install -y ${packages.replace("g++", "gcc-c++")}`,
      `  macOS:           xcode-select --install && brew install cmake`,
      "Then run the same command again.",
    ].join("\n"),
  );
}

/**
 * Runs a command with its output in out/build.log; on failure the end of that output is shown.
 *
 * @param {string} title what the step is called on the screen
 * @param {string} command
 * @param {string[]} commandArguments
 */
async function runLogged(title, command, commandArguments) {
  const started = Date.now();
  const seconds = () => `${((Date.now() - started) / 1000).toFixed(0)} s`;
  const line = (state) => `${interactive ? "\r\x1b[K" : ""}  ${title} … ${state}`;
  let timer;
  if (interactive) {
    process.stdout.write(line(""));
    timer = setInterval(() => process.stdout.write(line(seconds())), 1000);
  }
  const environment = { ...process.env, TURBO_TELEMETRY_DISABLED: "1", DO_NOT_TRACK: "1", FORCE_COLOR: "0" };
  const child = spawn(command, commandArguments, { cwd: ROOT, env: environment, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text) => {
      output += text;
      appendFileSync(LOG, text);
    });
  }
  const code = await new Promise((resolve) => {
    child.on("error", (error) => {
      output += `${error.message}\n`;
      resolve(1);
    });
    child.on("close", resolve);
  });
  clearInterval(timer);
  console.log(line(code === 0 ? `${green("done")} ${dim(`(${seconds()})`)}` : red("failed")));
  if (code !== 0) {
    const tail = output.trimEnd().split("\n").slice(-40).join("\n");
    throw new PreparationError(
      `${tail}\n\n\`${[command, ...commandArguments].join(" ")}\` failed; its whole output is in ${LOG}`,
    );
  }
}

/** Installs and builds; quick when everything is up to date. */
export async function prepare() {
  checkMachine();
  mkdirSync(dirname(LOG), { recursive: true });
  writeFileSync(LOG, "");
  await runLogged("installing dependencies", "npx", ["--yes", PNPM, "install", "--frozen-lockfile"]);
  await build("building (TypeScript and the native engine)");
  const broken = brokenAddons();
  if (broken.length === 0) return;
  // An interrupted build left them: everything of these packages is compiled afresh.
  for (const { folder, fault } of broken) {
    console.log(`  ${fault}`);
    rmSync(join(folder, "build"), { recursive: true, force: true });
  }
  await build("building once more, what cannot be loaded afresh");
  const [still] = brokenAddons();
  if (still !== undefined)
    throw new PreparationError(`The native code was compiled, but cannot be loaded: ${still.fault}`);
}

/** turbo looks for pnpm among the commands: through `npx pnpm exec` it is there. */
function build(title) {
  return runLogged(title, "npx", ["--yes", PNPM, "exec", "turbo", "run", "build", "build:native"]);
}

function brokenAddons() {
  const checked = nativePackages(ROOT).map((folder) => ({ folder, fault: findAddonFault(folder) }));
  return checked.filter(({ fault }) => fault !== undefined);
}

/**
 * Runs `body` and turns every failure into one message and exit code 1.
 *
 * @param {() => Promise<void>} body
 */
export async function runScript(body) {
  try {
    await body();
  } catch (error) {
    console.error(`\n${red(error instanceof PreparationError ? error.message : String(error?.stack ?? error))}`);
    process.exitCode = 1;
  }
}
