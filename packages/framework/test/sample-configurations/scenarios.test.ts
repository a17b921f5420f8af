import { readFileSync } from "node:fs";
import { readJsonFixture } from "@fms-accel/test-utilities";
import { parseArguments } from "@fms-accel/trainer";
import { describe, expect, it } from "vitest";
import { readYaml, repositoryPath } from "./repository.ts";

interface Scenario {
  readonly name: string;
  readonly framework_config?: readonly (string | null)[];
  readonly arguments: Readonly<Record<string, unknown>>;
}
interface ReferenceTable {
  readonly columns: readonly string[];
  readonly sample_rows: readonly (readonly string[])[];
  readonly framework_configs: readonly string[];
}
type Files = Readonly<Record<string, { readonly scenarios?: readonly Scenario[] } & Record<string, unknown>>>;

const { files } = readJsonFixture<{ files: Files }>("framework", "scenarios.json");
const scenarioFiles = Object.keys(files).filter((name) => name.startsWith("scenarios"));
const contents = readYaml("sample-configurations", "CONTENTS.yaml") as { framework_configs: { shortname: string }[] };
const shortnames = contents.framework_configs.map(({ shortname }) => shortname);
const scenariosOf = (name: string): readonly Scenario[] =>
  (readYaml("scripts", "benchmarks", name) as { scenarios: Scenario[] }).scenarios;

/** The original's scenarios-granite.yaml names a configuration that does not exist; ours names the one that was meant. */
function mended(file: unknown): unknown {
  return JSON.parse(JSON.stringify(file).replaceAll('"moe-scattermoe-granite"', '"moe-scattermoe-granite-ep1"'));
}

describe("scripts/benchmarks/", () => {
  it.each(["defaults.yaml", ...scenarioFiles])("%s says what the original's says", (name) => {
    expect(readYaml("scripts", "benchmarks", name)).toEqual(mended(files[name]));
  });

  it("accelerator-config.json, which a scenario names, is the original's", () => {
    const text = readFileSync(repositoryPath("scripts", "benchmarks", "accelerator-config.json"), "utf8");
    expect(JSON.parse(text)).toEqual(files["accelerator-config.json"]);
  });

  it("names only configurations that exist", () => {
    const named = scenarioFiles.flatMap((name) =>
      scenariosOf(name).flatMap(({ framework_config: configurations = [] }) => configurations),
    );
    expect(named.length).toBeGreaterThan(40);
    for (const name of named) if (name !== null) expect(shortnames).toContain(name);
  });

  describe("the original's reference figures", () => {
    const { files: tables } = readJsonFixture<{ files: Record<string, ReferenceTable> }>("framework", "benchmark.json");
    /** Measured, or said of the machine: no arguments. */
    const measured =
      /^(?:framework_config|num_gpus|epoch|error_messages|mem_\w+|train_(?:loss|runtime|\w+_per_second))$/;

    it("are of configurations that exist", () => {
      const named = new Set(Object.values(tables).flatMap(({ framework_configs: names }) => names));
      expect(named.size).toBeGreaterThan(20);
      for (const name of named) if (name !== "none") expect(shortnames).toContain(name);
    });

    it.each(Object.entries(tables))(
      "%s: its runs can be repeated by flags of `train`",
      (_, { columns, sample_rows: rows }) => {
        for (const row of rows) {
          const given = columns.flatMap((name, at) => {
            const text = row[at] ?? "";
            if (text === "" || measured.test(name)) return [];
            // A table that was once in a spreadsheet has "16.0" for 16.
            const value = /^\d+\.0$/.test(text)
              ? String(Number(text))
              : name === "target_modules"
                ? text.split(" ")
                : text;
            return [{ name, value, where: name }];
          });
          expect(given.length).toBeGreaterThan(1);
          const { training } = parseArguments([...given, { name: "output_dir", value: "out", where: "output_dir" }]);
          const rate = row[columns.indexOf("learning_rate")];
          if (rate !== undefined) expect(training.learningRate).toBe(Number(rate));
        }
      },
    );
  });

  it("has only arguments that `train` knows, with values that it takes", () => {
    const defaults = readYaml("scripts", "benchmarks", "defaults.yaml") as Record<string, unknown>;
    for (const name of scenarioFiles) {
      for (const scenario of scenariosOf(name)) {
        const { model_name_or_path: models, ...rest } = scenario.arguments;
        const values = { ...defaults, ...rest, model_name_or_path: (models as string[])[0], output_dir: "out" };
        const raw = Object.entries(values).filter(([, value]) => value !== null);
        const parsed = parseArguments(raw.map(([key, value]) => ({ name: key, value, where: key })));
        expect(parsed.training.learningRate, scenario.name).toBe(Number(rest["learning_rate"]));
      }
    }
  });
});
