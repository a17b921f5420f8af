import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readJsonFixture, temporaryDirectory } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { pluginCatalogue } from "../../src/plugins/catalogue.ts";
import { copyFragments, generate, readYaml, repositoryPath } from "./repository.ts";

interface Reference {
  readonly configurations: readonly {
    readonly shortname: string;
    readonly plugins: readonly string[];
    readonly filename: string;
    readonly body: unknown;
  }[];
  readonly generation: { readonly combinations: readonly { readonly filename: string; readonly specs: string[] }[] };
}
interface Contents {
  readonly framework_configs: readonly {
    readonly shortname: string;
    readonly plugins: readonly string[];
    readonly missing_plugins?: readonly string[];
    readonly filename: string;
  }[];
}

const reference = readJsonFixture<Reference>("framework", "configurations.json");
const contents = readYaml("sample-configurations", "CONTENTS.yaml") as Contents;

/** The original misspells one key in its quantised Liger samples, so that its own plugin never sees it. Ours says what was meant. */
function mended(body: unknown): unknown {
  return JSON.parse(JSON.stringify(body).replaceAll("fast_rsm_layernorm", "fast_rms_layernorm"));
}

describe("sample-configurations/", () => {
  it("is what the generator writes", () => {
    expect(generate("--check")).toEqual({ code: 0, errors: "" });
  });

  it("lists the original's 26 configurations in its order", () => {
    expect(contents.framework_configs).toHaveLength(26);
    const listed = contents.framework_configs.map(({ shortname, plugins, filename }) => ({
      shortname,
      plugins,
      filename,
    }));
    expect(listed).toEqual(
      reference.configurations.map(({ shortname, plugins, filename }) => ({ shortname, plugins, filename })),
    );
  });

  it.each(reference.configurations)("$shortname has the original's body", ({ filename, body }) => {
    expect(readYaml("sample-configurations", filename)).toEqual(mended(body));
  });

  it("has the original's misspelt key nowhere", () => {
    const misspelt = reference.configurations.filter(({ body }) => JSON.stringify(body).includes("fast_rsm_layernorm"));
    expect(misspelt.map(({ shortname }) => shortname)).toEqual([
      "accelerated-peft-autogptq-foak-liger",
      "accelerated-peft-bnb-foak-liger",
    ]);
    for (const { filename } of misspelt) {
      expect(readFileSync(repositoryPath("sample-configurations", filename), "utf8")).not.toContain("rsm");
    }
  });

  it("puts together what the original puts together", () => {
    const { configurations } = readYaml("scripts", "sample-configurations", "combinations.yaml") as {
      configurations: { filename: string; fragments: string[] }[];
    };
    const byFile = new Map(configurations.map(({ filename, fragments }) => [filename, fragments]));
    for (const { filename, specs } of reference.generation.combinations) expect(byFile.get(filename)).toEqual(specs);
  });

  it("marks the configurations whose plugins have no package, here and in the file itself", () => {
    const { configurations } = reference;
    expect(configurations).toHaveLength(contents.framework_configs.length);
    for (const { filename, plugins, missing_plugins: missing = [] } of contents.framework_configs) {
      for (const plugin of missing) expect(plugins).toContain(plugin);
      const text = readFileSync(repositoryPath("sample-configurations", filename), "utf8");
      expect(text.includes("# Not available yet: ")).toBe(missing.length > 0);
    }
    const absent = new Set(contents.framework_configs.flatMap(({ missing_plugins: missing = [] }) => missing));
    for (const { packageName, isAvailable } of pluginCatalogue) {
      const folder = packageName.replace("@fms-accel/", "");
      expect(isAvailable, folder).toBe(existsSync(repositoryPath("packages", folder, "package.json")));
      expect(absent.has(folder)).toBe(!isAvailable);
    }
  });
});

describe("the generator", () => {
  it("takes a package's own fragments as soon as there is a package, and takes the mark away", () => {
    const folder = temporaryDirectory();
    copyFragments(join(folder, "packages"));
    const configs = join(folder, "packages", "accelerated-peft", "configs");
    writeFileSync(join(folder, "packages", "accelerated-peft", "package.json"), "{}");
    writeFileSync(join(configs, "autogptq.yaml"), "peft:\n  quantization:\n    auto_gptq: { kernel: other }\n");
    const flags = ["--packages", join(folder, "packages"), "--out", join(folder, "out")];
    expect(generate(...flags)).toEqual({ code: 0, errors: "" });
    const text = readFileSync(join(folder, "out", "accelerated-peft-autogptq-sample-configuration.yaml"), "utf8");
    expect(parse(text)).toEqual({ plugins: { peft: { quantization: { auto_gptq: { kernel: "other" } } } } });
    expect(text).not.toContain("Not available yet");
    const check = generate("--check", ...flags);
    expect(check.code).toBe(1);
    expect(check.errors).toContain("is not used any more");
  });

  it("--check names files that differ, are missing or are too many", () => {
    const folder = temporaryDirectory();
    const [first = "", second = ""] = contents.framework_configs.map(({ filename }) => filename);
    cpSync(repositoryPath("sample-configurations"), folder, { recursive: true });
    writeFileSync(join(folder, first), "plugins: {}\n");
    rmSync(join(folder, second));
    writeFileSync(join(folder, "stray.yaml"), "");
    const { code, errors } = generate("--check", "--out", folder);
    expect(code).toBe(1);
    expect(errors).toContain(`not as they are generated: ${first}, ${second}, stray.yaml`);
  });

  it("refuses fragments that set the same value", () => {
    const folder = temporaryDirectory();
    copyFragments(join(folder, "packages"));
    const configs = join(folder, "packages", "fused-ops-and-kernels", "configs");
    const body =
      "peft:\n  quantization:\n    auto_gptq: { kernel: other }\n    fused_ops_and_kernels: { base_layer: x }\n";
    writeFileSync(join(configs, "fast_quantized_peft.yaml"), body);
    const { code, errors } = generate("--packages", join(folder, "packages"), "--out", join(folder, "out"));
    expect(code).toBe(1);
    expect(errors).toContain("two fragments set peft.quantization.auto_gptq.kernel");
  });
});
