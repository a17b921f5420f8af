import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { temporaryDirectory } from "@fms-accel/test-utilities";

/** Files by their path; an object is written as JSON. */
export type Files = Readonly<Record<string, string | object>>;

export function writeFiles(directory: string, files: Files): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), typeof content === "string" ? content : JSON.stringify(content));
  }
}

/** A folder with a package.json that has these dependencies. */
export function projectFolder(dependencies: readonly string[], files: Files = {}): string {
  const directory = temporaryDirectory();
  const wanted = Object.fromEntries(dependencies.map((name) => [name, "*"]));
  writeFiles(directory, { "package.json": { name: "project", dependencies: wanted }, ...files });
  return directory;
}

export interface PackageOptions {
  readonly manifest?: object | undefined;
  readonly packageFile?: object;
  readonly code?: string;
}

/** The files of a plugin package that serves `path`. */
export function pluginPackage(name: string, path: string, options: PackageOptions = {}): Files {
  const manifest = "manifest" in options ? options.manifest : { shortname: "x", paths: [path] };
  return {
    "package.json": {
      name,
      version: "1.2.3",
      type: "module",
      exports: { ".": { import: "./index.js" } },
      ...(manifest === undefined ? {} : { "fms-accel": manifest }),
      ...options.packageFile,
    },
    "index.js": options.code ?? pluginCode(path),
  };
}

/** A module without imports that exports one plugin for `path`, whose schema takes everything. */
export function pluginCode(path: string, name = `Plugin_${path.replaceAll(".", "_")}`): string {
  return `
    const anything = { safeParse: (data) => ({ success: true, data }) };
    export const plugins = [{
      name: ${JSON.stringify(name)}, description: "", paths: { allOf: [${JSON.stringify(path)}] },
      schemas: { ${JSON.stringify(path)}: anything }, activate: () => ({}),
    }];`;
}

/** npm's layout: every package below the project's node_modules. */
export function installFlat(project: string, packages: Readonly<Record<string, Files>>): void {
  for (const [name, files] of Object.entries(packages)) writeFiles(join(project, "node_modules", name), files);
}

/** pnpm's layout: packages in a store folder with their own dependencies beside them, linked from where they may be imported. */
export function installLinked(project: string, packages: Readonly<Record<string, Files>>): void {
  for (const [name, files] of Object.entries(packages)) {
    const real = join(project, "node_modules/.pnpm", `${name.replace("/", "+")}@1.2.3`, "node_modules", name);
    writeFiles(real, files);
    const link = join(project, "node_modules", name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(real, link, "dir");
  }
}
