import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { temporaryDirectory } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import { buildNativePackages } from "../../src/commands/build.ts";
import { installToolsRemedy, missingBuildTools } from "../../src/native/build-tools.ts";
import { compileCommand, enginePackage, nativePackageIn } from "../../src/native/native-packages.ts";
import { captureTerminal } from "../cli/captured-terminal.ts";

const CMAKE_LISTS = `cmake_minimum_required(VERSION 3.22)
project(answer LANGUAGES CXX)
add_library(answer SHARED answer.cc \${CMAKE_JS_SRC})
target_include_directories(answer PRIVATE \${CMAKE_JS_INC})
target_compile_definitions(answer PRIVATE NAPI_VERSION=8)
target_link_libraries(answer PRIVATE \${CMAKE_JS_LIB})
set_target_properties(answer PROPERTIES PREFIX "" SUFFIX ".node")
`;
const SOURCE = `#include <node_api.h>
NAPI_MODULE_INIT() {
  napi_value answer;
  napi_create_int32(env, 42, &answer);
  return answer;
}
`;

/** A package whose addon is the number 42, beside the engine's own cmake-js. */
function nativePackage(source: string): string {
  const folder = temporaryDirectory();
  const manifest = { name: "answer", version: "1.0.0", binary: { napi_versions: [8] } };
  writeFileSync(join(folder, "package.json"), JSON.stringify(manifest));
  writeFileSync(join(folder, "CMakeLists.txt"), CMAKE_LISTS);
  writeFileSync(join(folder, "answer.cc"), source);
  const require = createRequire(join(enginePackage().directory, "package.json"));
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(dirname(require.resolve("cmake-js/package.json")), join(folder, "node_modules", "cmake-js"));
  return folder;
}

async function build(folder: string): Promise<string> {
  const native = nativePackageIn(folder);
  if (native === undefined) throw new Error("not a native package");
  const { terminal, notes } = captureTerminal();
  await buildNativePackages([native], { jobs: 1, afresh: false }, terminal);
  return notes();
}

describe("build", () => {
  it("compiles a package that Node.js can load", async () => {
    const folder = nativePackage(SOURCE);
    expect(await build(folder)).toBe("compiling answer … \ncompiling answer … done\n");
    expect(createRequire(import.meta.url)(join(folder, "build", "Release", "answer.node"))).toBe(42);
  }, 120_000);

  it("shows the end of what the compiler said, and keeps all of it", async () => {
    const folder = nativePackage("#error no answer\n");
    const log = join(folder, "build", "compile.log");
    await expect(build(folder)).rejects.toThrow(/answer could not be compiled; [\s\S]*#error no answer/);
    expect(readFileSync(log, "utf8")).toContain("#error no answer");
  }, 120_000);

  it("is for packages with native sources only", () => {
    const folder = temporaryDirectory();
    writeFileSync(join(folder, "package.json"), '{"name": "plain", "version": "1.0.0"}');
    expect(nativePackageIn(folder)).toBeUndefined();
    writeFileSync(join(folder, "CMakeLists.txt"), "");
    // Without `binary.napi_versions` cmake-js would download headers.
    expect(nativePackageIn(folder)).toBeUndefined();
    expect(enginePackage()).toMatchObject({ packageName: "@fms-accel/tensor" });
    expect(existsSync(compileCommand(enginePackage(), 3, false)[1] ?? "")).toBe(true);
    expect(compileCommand(enginePackage(), 3, true)).toContain("rebuild");
  });

  it("names the tools that are missing, and how to get them", () => {
    expect(missingBuildTools(() => true)).toEqual([]);
    const missing = missingBuildTools((command) => command === "ninja");
    expect(missing.map(({ tool }) => tool)).toEqual(["a C++ compiler", "cmake"]);
    expect(installToolsRemedy(missing)).toEqual([
      "Debian, Ubuntu:  sudo apt-get update && sudo apt-get install -y g++ cmake",
      "Fedora:          sudo dnf install -y gcc-c++ cmake",
      "macOS:           xcode-select --install && brew install cmake",
    ]);
  });
});
