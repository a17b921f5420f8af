// Whether the native libraries that were built can be loaded. A build that was killed may leave one that is cut off but newer than its
// sources, which the next build then takes for finished.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** Packages of a repository whose native code is compiled, as folders. */
export function nativePackages(root) {
  const folders = readdirSync(join(root, "packages")).map((name) => join(root, "packages", name));
  return folders.filter((folder) => existsSync(join(folder, "CMakeLists.txt")));
}

/**
 * What is wrong with the libraries of a package, in one line; `undefined` when every one of them loads. Each is loaded in a process of its
 * own, which it may end.
 */
export function findAddonFault(folder) {
  const release = join(folder, "build", "Release");
  const files = existsSync(release) ? readdirSync(release).filter((name) => name.endsWith(".node")) : [];
  if (files.length === 0) return `${release} has no library (*.node)`;
  for (const name of files) {
    const file = join(release, name);
    const program = "process.dlopen({ exports: {} }, process.argv[1])";
    const { status, signal, stderr } = spawnSync(process.execPath, ["-e", program, file], { encoding: "utf8" });
    if (status === 0) continue;
    const reason = signal === null ? /^Error: (.*)$/m.exec(stderr)?.[1] : `loading it ended with ${signal}`;
    return `${file}: ${reason ?? stderr.trim()}`;
  }
  return undefined;
}
