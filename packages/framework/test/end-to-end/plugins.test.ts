import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { run, type Finished } from "./command.ts";
import { loraFlags, trainTinyBase } from "./tiny-run.ts";

const folder = mkdtempSync(join(tmpdir(), "fms-accel-plugins-"));
const project = join(folder, "project");
const framework = fileURLToPath(new URL("../../", import.meta.url));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A plugin as somebody else publishes it. It multiplies what normalisation gives, doubles the micro-batches of a step and counts them. */
const code = `
import { definePlugin, modelPatcherRule, moduleIs } from "@fms-accel/framework";
import { RMSNorm } from "@fms-accel/models";
import { mul } from "@fms-accel/tensor";
import { z } from "zod";

export const plugins = [definePlugin({
  name: "LoudNormAccelerationPlugin",
  description: "Makes normalisation louder.",
  paths: { allOf: ["training.loud_norm"] },
  schemas: { "training.loud_norm": z.strictObject({ factor: z.number().positive().default(1) }) },
  options: [{
    name: "loud_norm", path: "training.loud_norm", help: "Louder normalisation.",
    values: [{ name: "factor", type: "number", default: 1, help: "" }],
  }],
  activate(configuration, { say }) {
    const { factor } = configuration["training.loud_norm"];
    let batches = 0;
    return {
      augment: ({ args }) => ({
        args: { gradientAccumulationSteps: 2 * args.gradientAccumulationSteps },
        rules: [modelPatcherRule({
          id: "loud-norm",
          trigger: moduleIs(RMSNorm, { moduleName: "norm" }),
          forwardBuilder: (_, { original }) => (x) => mul(original(x), factor),
        })],
        slots: { collator: { id: "counting-collator", build: (standard) => (samples) => (batches++, standard(samples)) } },
      }),
      callbacks: () => [{ onTrainEnd: () => say("counted " + batches + " micro-batches") }],
    };
  },
})];
`;

function write(path: string, content: string | object): void {
  mkdirSync(dirname(join(project, path)), { recursive: true });
  writeFileSync(join(project, path), typeof content === "string" ? content : JSON.stringify(content));
}

function link(name: string, target: string): void {
  mkdirSync(dirname(join(project, "node_modules", name)), { recursive: true });
  symlinkSync(target, join(project, "node_modules", name), "dir");
}

const inProject = (argv: readonly string[]): Promise<Finished> => run(argv, { cwd: project });

describe("a plugin of somebody else in a project", () => {
  let base = "";
  const train = (out: string, ...further: string[]): Promise<Finished> =>
    inProject(["train", ...loraFlags(base, join(folder, out), { max_steps: 3 }), ...further]);
  const losses = (out: string): number[] => {
    const state = JSON.parse(readFileSync(join(folder, out, "trainer_state.json"), "utf8")) as {
      log_history: { train_loss?: number }[];
    };
    return state.log_history.flatMap(({ train_loss }) => (train_loss === undefined ? [] : [train_loss]));
  };

  beforeAll(async () => {
    base = await trainTinyBase(folder);
    const dependencies = { "@fms-accel/framework": "*", "@them/loud-norm": "*", "@them/broken": "*" };
    write("package.json", { name: "project", private: true, dependencies });
    write("node_modules/@them/loud-norm/package.json", {
      name: "@them/loud-norm",
      version: "3.1.4",
      type: "module",
      exports: "./index.js",
      "fms-accel": { shortname: "loud", paths: ["training.loud_norm"], options: ["loud_norm"] },
      peerDependencies: { "@fms-accel/framework": ">=0.1.0" },
    });
    write("node_modules/@them/loud-norm/index.js", code);
    write("node_modules/@them/broken/package.json", {
      name: "@them/broken",
      version: "0.0.1",
      type: "module",
      exports: "./index.js",
      "fms-accel": { paths: ["training.broken"], options: ["broken"] },
    });
    write("node_modules/@them/broken/index.js", 'throw new Error("the author forgot something");');
    link("@fms-accel/framework", framework);
    for (const name of ["models", "tensor"]) link(`@fms-accel/${name}`, join(framework, "..", name));
    link("zod", join(framework, "node_modules/zod"));
  }, 120_000);

  it("runs by its flag, says that it does, and changes the training", async () => {
    const plain = await train("plain");
    const loud = await train("loud", "--loud_norm", "1.5");
    expect([plain.code, loud.code], loud.notes).toEqual([0, 0]);
    expect(plain.notes).not.toContain("AccelerationFramework");
    expect(loud.notes).toContain(
      [
        "***** FMS AccelerationFramework *****",
        "Active Plugin: LoudNormAccelerationPlugin. Package: @them/loud-norm. Version: 3.1.4.",
        "***************** Module Forwards Patching *************",
        "Rule: loud-norm       Module: norm                      Class: RMSNorm         Num:  1",
        "***************** Accelerator Patching *************",
        "Rule: counting-collator         Kind: replacement Component: data_collator       ",
        "Argument: gradient_accumulation_steps is 2 instead of 1, as LoudNormAccelerationPlugin needs it.",
      ].join("\n"),
    );
    expect(loud.notes).toContain("counted 6 micro-batches");
    expect(losses("loud")[0]).not.toBe(losses("plain")[0]);
  }, 120_000);

  it("runs the same by a configuration file and by the variable", async () => {
    write("framework.yaml", "plugins:\n  training:\n    loud_norm: {factor: 1.5}\n");
    const byFile = await train("file", "--acceleration_framework_config_file", "framework.yaml");
    expect(byFile.code, byFile.notes).toBe(0);
    const argv = ["train", ...loraFlags(base, join(folder, "variable"), { max_steps: 3 })];
    const env = { ACCELERATION_FRAMEWORK_CONFIG_FILE: join(project, "framework.yaml") };
    const byVariable = await run(argv, { cwd: project, env });
    expect(byVariable.code, byVariable.notes).toBe(0);
    expect([losses("file"), losses("variable")]).toEqual([losses("loud"), losses("loud")]);
  });

  it("a broken one beside it stops a run only where it is asked for", async () => {
    write("broken.yaml", "plugins:\n  training:\n    broken: {}\n");
    const { code: exit, notes } = await train("none", "--acceleration_framework_config_file", "broken.yaml");
    expect(exit).toBe(1);
    expect(notes).toContain(
      "error: broken.yaml:3:13: training.broken is served by @them/broken 0.0.1, which cannot be used: " +
        "it cannot be loaded: the author forgot something",
    );
    expect((await train("none", "--broken", "1")).notes).toContain(
      "--broken is a flag of @them/broken, which cannot be used",
    );
  });

  it("flags of packages that are not installed name the package", async () => {
    const { code: exit, notes } = await train("none", "--multipack", "16");
    expect(exit).toBe(1);
    expect(notes).toContain("Add it: npx fms-accel install aadp");
  });

  it("its flag is in --help, its section in the schema", async () => {
    expect((await inProject(["train", "--help"])).output).toMatch(/--loud_norm .*\n?.*Louder normalisation/);
    const { output, notes } = await inProject(["schema"]);
    expect(JSON.parse(output)).toMatchObject({
      properties: {
        plugins: {
          properties: {
            training: { properties: { loud_norm: { anyOf: [{ properties: { factor: { default: 1 } } }, {}] } } },
          },
        },
      },
    });
    expect(notes).toContain("Left out: @them/broken 0.0.1");
  });
});
