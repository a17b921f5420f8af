import { readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { example, flags } from "./command.ts";
import { EmptyProject, hasRegistry, listTarball, manifestOf, packPackages } from "./empty-project.ts";

const OWN = ["packages/framework", "packages/tensor", "packages/models", "packages/trainer"];
const reachable = hasRegistry();
const needs = reachable ? "" : " (skipped: needs a package registry; `npm view picocolors version` has to work)";

const tarballs = { framework: "", inner: [] as string[], plugin: "", packing: "" };
const all = (): string[] => [tarballs.framework, ...tarballs.inner, tarballs.plugin, tarballs.packing];

beforeAll(() => {
  if (!reachable) return;
  const [framework = "", ...inner] = packPackages(OWN);
  const [plugin = "", packing = ""] = packPackages([
    "examples/third-party-plugin",
    "packages/attention-and-distributed-packing",
  ]);
  Object.assign(tarballs, { framework, inner, plugin, packing });
}, 600_000);
afterAll(() => {
  for (const tarball of all()) {
    if (tarball !== "") rmSync(dirname(tarball), { recursive: true, force: true });
  }
});

describe.skipIf(!reachable)(`what is published${needs}`, () => {
  it("has everything that its package.json names, a licence, and no tests or build records", () => {
    for (const tarball of all()) {
      const files = new Set(listTarball(tarball));
      const manifest = manifestOf(tarball) as {
        exports: Record<string, string | Record<string, string>>;
        bin?: Record<string, string>;
        dependencies?: Record<string, string>;
        scripts?: Record<string, string>;
      };
      const named = [...Object.values(manifest.exports), manifest.bin ?? {}].flatMap((entry) =>
        typeof entry === "string" ? [entry] : Object.values(entry),
      );
      expect(named.length).toBeGreaterThan(2);
      for (const path of named) expect(files, tarball).toContain(path.replace(/^\.\//, ""));
      expect(files).toContain("LICENSE");
      const unwanted = [...files].filter((file) => /(?:^|\/)(?:test|bench|build)\/|\.tsbuildinfo$|\.node$/.test(file));
      expect(unwanted).toEqual([]);
      for (const range of Object.values(manifest.dependencies ?? {})) expect(range).not.toContain("workspace:");
      // Nothing runs when a package is installed, so nothing can be downloaded then.
      for (const script of ["preinstall", "install", "postinstall"])
        expect(manifest.scripts).not.toHaveProperty(script);
    }
  });

  it("has what the engine and the packing plugin are compiled of, and the sample configurations", () => {
    const [tensor = ""] = tarballs.inner;
    for (const file of ["CMakeLists.txt", "native/engine/tensor.cc", "include/fms_accel/tensor_abi.h"]) {
      expect(listTarball(tensor)).toContain(file);
    }
    for (const file of ["CMakeLists.txt", "native/binding/addon.cc", "native/cuda/forward.cu", "attention.svg"]) {
      expect(listTarball(tarballs.packing)).toContain(file);
    }
    const framework = listTarball(tarballs.framework);
    expect(framework.filter((file) => file.endsWith("-sample-configuration.yaml"))).toHaveLength(26);
    expect(framework).toContain("scripts/benchmarks/scenarios.yaml");
  });
});

describe.skipIf(!reachable).each(["npm", "pnpm"] as const)(
  `a plugin of other people, added with %s${needs}`,
  (manager) => {
    let project: EmptyProject;
    const run = (output: string): string[] => [
      "train",
      ...flags({
        model_name_or_path: example("model"),
        training_data_path: example("train.jsonl"),
        output_dir: output,
        max_steps: 2,
        save_strategy: "no",
        per_device_train_batch_size: 2,
        peft_method: "lora",
        r: 4,
        torch_dtype: "float32",
      }),
    ];
    const train = (output: string, ...words: string[]): string => project.succeed(...run(output), ...words);
    const adapter = (output: string): Buffer => readFileSync(join(project.folder, output, "adapter_model.safetensors"));

    beforeAll(() => {
      project = new EmptyProject(manager);
      const { code, output, notes } = project.add([tarballs.framework], tarballs.inner);
      expect(code, output + notes).toBe(0);
    }, 600_000);
    afterAll(() => rmSync(project.folder, { recursive: true, force: true }), 60_000);

    it("says what to do as long as the engine is not compiled", () => {
      const { code, output, notes } = project.fmsAccel("train", "--max_steps", "1");
      expect(code).toBe(1);
      expect(output + notes).toContain('run "npx fms-accel build"');
      expect(project.fmsAccel("doctor").output).toContain("→ npx fms-accel build");
      const { code: configured, notes: complaints } = project.configureEngine();
      expect(configured, complaints).toBe(0);
      project.useBuiltEngine();
      expect(project.succeed("doctor")).toContain("Everything is in place.");
    });

    it("is added by `install`, with the project's own package manager, and listed", () => {
      expect(project.succeed("plugins")).not.toContain("neftune");
      const { code, notes } = project.install(tarballs.plugin);
      expect(code, notes).toBe(0);
      expect(notes).toContain(`${manager} ${manager === "npm" ? "install" : "add"} ${tarballs.plugin} (`);
      expect(project.succeed("plugins")).toContain("\n5. fms-accel-neftune [neftune] (installed) 1.0.0\n");
    }, 600_000);

    it("trains by a configuration that activates it, and by its flag, with the same result", () => {
      project.write("framework.yaml", "plugins:\n  training:\n    neftune:\n      noise_alpha: 5\n");
      const printed = train("by-file", "--acceleration_framework_config_file", "framework.yaml");
      expect(printed).toContain("Active Plugin: NeftunePlugin. Package: fms-accel-neftune. Version: 1.0.0.");
      expect(printed).toMatch(/Rule: neftune +Module: embed_tokens +Class: Embedding +Num: +1/);
      train("by-flag", "--neftune", "5");
      expect(adapter("by-flag").equals(adapter("by-file"))).toBe(true);
      train("without");
      expect(adapter("without").equals(adapter("by-file"))).toBe(false);
    }, 600_000);

    it("is told apart from what is not installed", () => {
      project.write("typo.yaml", "plugins:\n  training:\n    neftun: { noise_alpha: 5 }\n");
      const file = ["--acceleration_framework_config_file", "typo.yaml"];
      const { code, notes } = project.fmsAccel(...run("typo"), ...file);
      expect(code).toBe(1);
      expect(notes).toContain("typo.yaml:3:5");
      expect(notes).toContain("neftune");
    });
  },
);
