/** What `npm start` and `npm test` look at after a build: a library that an interrupted build has left does not pass for a good one. */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { temporaryDirectory } from "@fms-accel/test-utilities";
import { expect, it } from "vitest";
import { repositoryPath } from "../sample-configurations/repository.ts";

const built = repositoryPath("packages", "tensor", "build", "Release", "fms_accel_tensor.node");

/** What is said of a package that has these libraries. */
function fault(libraries: Readonly<Record<string, (path: string) => void>>): string {
  const folder = temporaryDirectory();
  const release = join(folder, "build", "Release");
  mkdirSync(release, { recursive: true });
  for (const [name, write] of Object.entries(libraries)) write(join(release, name));
  const script = pathToFileURL(repositoryPath("scripts", "native-addons.mjs")).href;
  const program = `import { findAddonFault } from ${JSON.stringify(script)}; console.log(String(findAddonFault(process.argv[1])));`;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", program, folder], {
    encoding: "utf8",
  });
  expect(stderr).toBe("");
  return stdout.trim().replace(release, "");
}

it("finds nothing wrong with a library that loads", () => {
  expect(fault({ "engine.node": (path) => copyFileSync(built, path) })).toBe("undefined");
});

it("names a library that is missing, cut off or empty", () => {
  expect(fault({})).toBe(" has no library (*.node)");
  const cut = (path: string): void => writeFileSync(path, readFileSync(built).subarray(0, 100_000));
  expect(fault({ "good.node": (path) => copyFileSync(built, path), "cut.node": cut })).toMatch(/^\/cut\.node: \S/);
  expect(fault({ "empty.node": (path) => writeFileSync(path, "") })).toMatch(/^\/empty\.node: .*too short/);
});
