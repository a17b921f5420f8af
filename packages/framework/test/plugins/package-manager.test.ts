import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryDirectory } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import { addPackages, detectPackageManager, projectFolder } from "../../src/plugins/package-manager.ts";

/** A folder with these files; names may have folders, values that are objects become JSON. */
function folderWith(files: Readonly<Record<string, unknown>>): string {
  const folder = temporaryDirectory();
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(folder, name, ".."), { recursive: true });
    writeFileSync(join(folder, name), typeof content === "string" ? content : JSON.stringify(content));
  }
  return folder;
}

describe("the project's folder", () => {
  it("is the nearest one with a package.json", () => {
    const folder = folderWith({ "package.json": {}, "src/deep/file.ts": "" });
    expect(projectFolder(join(folder, "src", "deep"))).toBe(folder);
  });

  it("is asked for where there is none", () => {
    expect(() => projectFolder("/")).toThrow(
      "there is no package.json in / or above it. Make the folder a project first",
    );
  });
});

describe("the package manager", () => {
  it.each([
    ["pnpm-lock.yaml", "pnpm"],
    ["package-lock.json", "npm"],
    ["npm-shrinkwrap.json", "npm"],
    ["yarn.lock", "yarn"],
    ["bun.lock", "bun"],
    ["bun.lockb", "bun"],
  ])("of a project with %s is %s", (file, name) => {
    const folder = folderWith({ "package.json": {}, [file]: "" });
    expect(detectPackageManager(folder, {})).toEqual({ name, reason: `the project has a ${file}` });
  });

  it("is the one that package.json names, whatever lockfile there is", () => {
    const folder = folderWith({ "package.json": { packageManager: "pnpm@10.1.0+sha512.abc" }, "yarn.lock": "" });
    expect(detectPackageManager(folder, {}).name).toBe("pnpm");
    const engines = { devEngines: { packageManager: { name: "bun" } } };
    expect(detectPackageManager(folderWith({ "package.json": engines }), {}).name).toBe("bun");
  });

  it("is the workspace's for a package of a workspace, but not that of a folder which happens to be above", () => {
    const workspace = folderWith({
      "package.json": {},
      "pnpm-workspace.yaml": "packages: [a]\n",
      "pnpm-lock.yaml": "",
      "a/package.json": {},
    });
    expect(detectPackageManager(join(workspace, "a"), {}).name).toBe("pnpm");
    const workspaces = folderWith({ "package.json": { workspaces: ["a"] }, "yarn.lock": "", "a/package.json": {} });
    expect(detectPackageManager(join(workspaces, "a"), {}).name).toBe("yarn");
    const stray = folderWith({ "package.json": {}, "yarn.lock": "", "a/package.json": {} });
    expect(detectPackageManager(join(stray, "a"), {}).name).toBe("npm");
  });

  it("is the program that runs this one where the project says nothing, else npm", () => {
    const folder = folderWith({ "package.json": {} });
    const agent = "pnpm/12.21.0 npm/? node/v20.19.0 linux x64";
    expect(detectPackageManager(folder, { npm_config_user_agent: agent }).name).toBe("pnpm");
    expect(detectPackageManager(folder, { npm_config_user_agent: "other/1" }).name).toBe("npm");
    expect(detectPackageManager(folder, {})).toEqual({ name: "npm", reason: "the project has no lockfile" });
  });

  it("is asked for where lockfiles contradict each other", () => {
    const folder = folderWith({ "package.json": {}, "pnpm-lock.yaml": "", "package-lock.json": "{}" });
    expect(() => detectPackageManager(folder, {})).toThrow(
      `${folder} has pnpm-lock.yaml and package-lock.json: which package manager is used? Say it with --package_manager pnpm or npm.`,
    );
  });

  it("cannot be read from a broken package.json", () => {
    const folder = folderWith({ "package.json": "{" });
    expect(() => detectPackageManager(folder, {})).toThrow(`${join(folder, "package.json")} cannot be read:`);
  });

  it("adds packages by its own command", () => {
    expect(addPackages("pnpm", ["-D", "x"])).toEqual(["pnpm", "add", "-D", "x"]);
    expect(addPackages("npm", ["x"])).toEqual(["npm", "install", "x"]);
    expect(addPackages("yarn", ["x"])).toEqual(["yarn", "add", "x"]);
    expect(addPackages("bun", ["x"])).toEqual(["bun", "add", "x"]);
  });
});
