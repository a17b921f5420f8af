import { realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  describeProblem,
  discoverPlugins,
  findPluginPackages,
  PluginError,
  type PluginDiscovery,
  type PluginProblem,
} from "../../src/index.ts";
import { installFlat, installLinked, pluginCode, pluginPackage, projectFolder, writeFiles } from "./project-folder.ts";

const names = ({ registrations }: PluginDiscovery): string[] => registrations.map(({ packageName }) => packageName);

async function onlyProblem(project: string): Promise<PluginProblem> {
  const { registrations, problems } = await discoverPlugins(project);
  expect(registrations).toEqual([]);
  expect(problems).toHaveLength(1);
  return problems[0] as PluginProblem;
}

describe("layouts", () => {
  const packages = {
    "@them/fast-thing": pluginPackage("@them/fast-thing", "training.thing"),
    "plain-library": pluginPackage("plain-library", "", { manifest: undefined, code: "throw new Error('not loaded')" }),
  };
  const dependencies = Object.keys(packages);

  test("npm: packages in node_modules; those that declare nothing are not loaded", async () => {
    const project = projectFolder(dependencies);
    installFlat(project, packages);
    const found = await discoverPlugins(project);
    expect(found).toMatchObject({ projectDirectory: project, problems: [] });
    expect(found.registrations).toMatchObject([
      { packageName: "@them/fast-thing", version: "1.2.3", plugins: [{ name: "Plugin_training_thing" }] },
    ]);
  });

  test("pnpm: linked packages find their own dependencies beside their real folder", async () => {
    const project = projectFolder(["@them/fast-thing"]);
    const code = `import "their-dependency";\n${pluginCode("training.thing")}`;
    installLinked(project, { "@them/fast-thing": pluginPackage("@them/fast-thing", "training.thing", { code }) });
    const store = join(project, "node_modules/.pnpm/@them+fast-thing@1.2.3/node_modules");
    writeFiles(join(store, "their-dependency"), {
      "package.json": { name: "their-dependency", version: "1.0.0", type: "module", exports: "./index.js" },
      "index.js": "",
    });
    const found = await discoverPlugins(project);
    expect(found.problems).toEqual([]);
    expect(found.registrations[0]?.directory).toBe(realpathSync(join(store, "@them/fast-thing")));
  });

  test.each([
    ["npm and yarn", { "package.json": { name: "root", workspaces: ["apps/*"], devDependencies: { b: "*" } } }],
    ["pnpm", { "package.json": { name: "root", devDependencies: { b: "*" } }, "pnpm-workspace.yaml": "" }],
  ])("workspaces of %s: the package's dependencies and those of the root", async (_, rootFiles) => {
    const root = projectFolder([], rootFiles);
    installFlat(root, { b: pluginPackage("b", "training.b"), c: pluginPackage("c", "training.c") });
    const application = join(root, "apps/one");
    writeFiles(application, { "package.json": { name: "one", dependencies: { a: "*" } } });
    installFlat(application, { a: pluginPackage("a", "training.a") });
    writeFiles(join(application, "src"), { "empty.js": "" });
    expect(names(await discoverPlugins(join(application, "src")))).toEqual(["a", "b"]);
  });

  test("a folder above that is no workspace does not count", async () => {
    const outer = projectFolder(["b"]);
    installFlat(outer, { b: pluginPackage("b", "training.b") });
    writeFiles(join(outer, "inner"), { "package.json": { name: "inner", dependencies: {} } });
    expect(names(await discoverPlugins(join(outer, "inner")))).toEqual([]);
  });

  test("Yarn's Plug'n'Play without Yarn: says how to start it", async () => {
    const project = projectFolder(["a"], { ".pnp.cjs": "" });
    await expect(discoverPlugins(project)).rejects.toThrow(PluginError);
    await expect(discoverPlugins(project)).rejects.toThrow(/yarn fms-accel.*nodeLinker: node-modules/);
  });

  test("without a package.json there is no project and no plugin", async () => {
    const project = projectFolder([]);
    writeFileSync(join(project, "package.json"), "not JSON");
    expect(await discoverPlugins(project)).toEqual({ projectDirectory: undefined, registrations: [], problems: [] });
  });
});

describe("entries", () => {
  test("a subpath of the exports, and a package with main alone", async () => {
    const project = projectFolder(["sub", "old"]);
    const manifest = { shortname: "s", entry: "./plugin", paths: ["training.s"] };
    installFlat(project, {
      sub: {
        ...pluginPackage("sub", "training.s", { manifest, packageFile: { exports: { "./plugin": "./p.js" } } }),
        "p.js": pluginCode("training.s"),
      },
      old: {
        ...pluginPackage("old", "training.o", { packageFile: { exports: undefined, main: "lib/main.js" } }),
        "lib/main.js": pluginCode("training.o"),
      },
    });
    expect(names(await discoverPlugins(project))).toEqual(["old", "sub"]);
  });
});

test("this project's packages come in the catalogue's order, others after them by name", async () => {
  const wanted = ["zz", "aa", "@fms-accel/accelerated-moe", "@fms-accel/accelerated-peft"];
  const project = projectFolder(wanted);
  installFlat(
    project,
    Object.fromEntries(wanted.map((name, index) => [name, pluginPackage(name, `training.p${index}`)])),
  );
  expect(names(await discoverPlugins(project))).toEqual([
    "@fms-accel/accelerated-peft",
    "@fms-accel/accelerated-moe",
    "aa",
    "zz",
  ]);
});

describe("packages that cannot be used are problems with a remedy, and run no further", () => {
  test("throws on import", async () => {
    const project = projectFolder(["a"]);
    installFlat(project, {
      a: pluginPackage("a", "training.a", { code: 'throw new Error("first line\\nsecond line")' }),
    });
    const problem = await onlyProblem(project);
    expect(problem).toMatchObject({ kind: "import", packageName: "a", manifest: { paths: ["training.a"] } });
    expect(describeProblem(problem)).toBe(
      "a 1.2.3: it cannot be loaded: first line. Install it again; if that does not help, its authors should know.",
    );
  });

  test("native part missing for this platform", async () => {
    const project = projectFolder(["a"]);
    const code =
      'import { createRequire } from "node:module"; createRequire(import.meta.url)("./build/Release/a.node");';
    installFlat(project, { a: pluginPackage("a", "training.a", { code }) });
    expect(await onlyProblem(project)).toMatchObject({ kind: "build", remedy: "Build it: npm rebuild a." });
  });

  test.each([
    [{ os: ["aix"] }, /made for aix on any/],
    [{ cpu: ["s390x"] }, /made for any on s390x/],
    [{ os: [`!${process.platform}`] }, /made for !/],
  ])("made for another platform: %j", async (packageFile, message) => {
    const project = projectFolder(["a"]);
    installFlat(project, {
      a: pluginPackage("a", "training.a", { packageFile, code: "throw new Error('not loaded')" }),
    });
    const problem = await onlyProblem(project);
    expect(problem.kind).toBe("build");
    expect(problem.message).toMatch(message);
  });

  test.each([
    [{ os: [process.platform], cpu: [process.arch] }],
    [{ os: ["!aix"] }],
    [{ peerDependencies: { "@fms-accel/framework": ">=0.1.0" } }],
    [{ dependencies: { "@fms-accel/framework": "workspace:^" } }],
  ])("not for %j", async (packageFile) => {
    const project = projectFolder(["a"]);
    installFlat(project, { a: pluginPackage("a", "training.a", { packageFile }) });
    expect(names(await discoverPlugins(project))).toEqual(["a"]);
  });

  test("made for another version; versions are compared as numbers, not as text", async () => {
    const project = projectFolder(["a"]);
    const needs = (range: string): void => {
      const packageFile = { peerDependencies: { "@fms-accel/framework": range } };
      installFlat(project, { a: pluginPackage("a", "training.a", { packageFile }) });
    };
    needs("^99.0.0");
    expect(await onlyProblem(project)).toMatchObject({
      kind: "incompatible",
      message: expect.stringMatching(
        /^it is made for @fms-accel\/framework \^99\.0\.0, and this is \d+\.\d+\.\d+\.$/,
      ) as string,
    });
    // As text, 0.1.0 would not be below 0.100.0.
    needs(">=0.0.9 <0.100.0");
    expect(names(await discoverPlugins(project))).toEqual(["a"]);
    needs("sometime");
    expect((await onlyProblem(project)).message).toMatch(/"sometime", which is no range/);
  });

  test("a second copy of the framework beside it", async () => {
    const project = projectFolder(["a"]);
    installFlat(project, {
      a: pluginPackage("a", "training.a"),
      "@fms-accel/tensor": { "package.json": { name: "@fms-accel/tensor", version: "0.1.0" } },
    });
    const problem = await onlyProblem(project);
    expect(problem.kind).toBe("incompatible");
    expect(problem.message).toMatch(/another copy of @fms-accel\/tensor .*cannot share tensors/);
  });

  test.each([
    ["unknown key", { paths: ["a.b"], path: 1 }, /fms-accel: Unrecognized key: "path"/],
    ["no path", { paths: [] }, /fms-accel\.paths/],
    ["malformed path", { paths: ["a..b"] }, /fms-accel\.paths\.0: expected names with dots/],
    ["no mapping", "yes", /fms-accel: /],
  ])("manifest: %s", async (_, manifest, message) => {
    const project = projectFolder(["a"]);
    installFlat(project, { a: pluginPackage("a", "a.b", { manifest: manifest as object }) });
    const problem = await onlyProblem(project);
    expect(problem.kind).toBe("manifest");
    expect(problem.message).toMatch(message);
  });

  test.each([
    ["exports nothing", "export const other = 1;", /exports no array "plugins"/],
    [
      "no function",
      'export const plugins = [{ name: "A", paths: { allOf: ["training.a"] }, schemas: {} }];',
      /"activate"/,
    ],
    ["no path", 'export const plugins = [{ name: "A", paths: {}, schemas: {}, activate() {} }];', /names no path/],
    ["other paths", pluginCode("training.other"), /serve training\.other, but "paths"/],
    ["no plugin", "export const plugins = [];", /names training\.a, which none/],
  ])("exports: %s", async (_, code, message) => {
    const project = projectFolder(["a"]);
    installFlat(project, { a: pluginPackage("a", "training.a", { code }) });
    const problem = await onlyProblem(project);
    expect(problem.kind).toBe("manifest");
    expect(problem.message).toMatch(message);
  });

  test("the second of two packages that serve the same section", async () => {
    const project = projectFolder(["b", "a"]);
    const code = pluginCode("training.a", "Other");
    installFlat(project, { a: pluginPackage("a", "training.a"), b: pluginPackage("b", "training.a", { code }) });
    const { registrations, problems } = await discoverPlugins(project);
    expect(registrations.map(({ packageName }) => packageName)).toEqual(["a"]);
    expect(problems).toMatchObject([{ packageName: "b", message: "it serves training.a, which a serves already." }]);
  });

  test("a dependency of the catalogue that is not installed", async () => {
    const project = projectFolder(["@fms-accel/accelerated-peft", "some-library"]);
    const problem = await onlyProblem(project);
    expect(problem).toMatchObject({ kind: "missing", manifest: { shortname: "peft" } });
  });
});

test("looking without loading runs no code", () => {
  const project = projectFolder(["a"]);
  installFlat(project, { a: pluginPackage("a", "training.a", { code: "throw new Error('loaded')" }) });
  expect(findPluginPackages(project).packages).toMatchObject([
    { packageName: "a", manifest: { shortname: "x", entry: "." } },
  ]);
});
