import { spawnSync } from "node:child_process";

/** What compiles native code: each tool, the commands that may provide it, and the Debian package that brings it. */
const buildTools = [
  { tool: "a C++ compiler", commands: ["g++", "clang++", "c++"], debianPackage: "g++" },
  { tool: "make", commands: ["make", "gmake", "ninja"], debianPackage: "make" },
  { tool: "cmake", commands: ["cmake"], debianPackage: "cmake" },
] as const;

export function hasCommand(command: string): boolean {
  return spawnSync(command, ["--version"], { stdio: "ignore" }).status === 0;
}

/** The tools that are not there, with the Debian packages that bring them. */
export function missingBuildTools(has: (command: string) => boolean): { tool: string; debianPackage: string }[] {
  return buildTools
    .filter(({ commands }) => !commands.some(has))
    .map(({ tool, debianPackage }) => ({ tool, debianPackage }));
}

/** How to get the tools that are missing, in a line for each kind of system. */
export function installToolsRemedy(missing: readonly { debianPackage: string }[]): string[] {
  const packages = missing.map(({ debianPackage }) => debianPackage).join(" ");
  return [
    `Debian, Ubuntu:  sudo apt-get update && sudo apt-get install -y ${packages}`,
    `Fedora:          sudo dnf install -y ${packages.replace("g++", "gcc-c++")}`,
    "macOS:           xcode-select --install && brew install cmake",
  ];
}
