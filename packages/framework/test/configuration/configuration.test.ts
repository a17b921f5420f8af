import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "@fms-accel/test-utilities";
import { z } from "zod";
import {
  AccelerationFramework,
  configurationJsonSchema,
  ConfigurationError,
  type FrameworkOptions,
  type PluginProblem,
} from "../../src/index.ts";
import { optionsOf, referenceRegistrations, registration, simplePlugin } from "../plugins/reference-plugins.ts";

const file = join(temporaryDirectory(), "framework.yaml");

/** The lines of the error that a file gives, without its folder. */
async function linesOf(text: string, rest: FrameworkOptions = {}): Promise<string[]> {
  writeFileSync(file, text);
  const options = { ...optionsOf(referenceRegistrations, { configuration: file }), ...rest };
  const error: unknown = await AccelerationFramework.create(options).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ConfigurationError);
  return (error as Error).message.replaceAll(file, "f.yaml").split("\n");
}

describe("one error with line and column for", () => {
  test.each([
    ["an empty file", "", 'f.yaml:1:1: expected a mapping with the key "plugins"; found nothing.'],
    ["a list", "- plugins", 'f.yaml:1:1: expected a mapping with the key "plugins"; found a list.'],
    ["a misspelt top key", "plugin:\n  a: 1", 'f.yaml:1:1: unknown key "plugin". Did you mean plugins?'],
    [
      "no sections",
      "# nothing\nplugins:",
      'f.yaml:2:9: expected a mapping of sections under "plugins"; found nothing.',
    ],
    [
      "a misspelt section",
      "plugins:\n  trainin:\n    moe: {}",
      "f.yaml:2:3: no installed plugin serves trainin. Did you mean training?",
    ],
    [
      "a section of a plugin that is not known",
      "plugins:\n  training:\n    something: {}",
      "f.yaml:3:5: no installed plugin serves training.something. Known here: fused_ops_and_kernels, dataloader, attention, moe. Add the package that brings the plugin, or remove the key.",
    ],
    [
      "a misspelt key",
      "plugins:\n  training:\n    fused_ops_and_kernels:\n      fast_loss: true\n      fast_rsm_layernorm: true",
      'f.yaml:5:7: unknown key "fast_rsm_layernorm". Did you mean fast_rms_layernorm?',
    ],
    [
      "a misspelt key without a value",
      "plugins:\n  training:\n    fused_ops_and_kernels: {fast_rsm_layernorm: }",
      'f.yaml:3:29: unknown key "fast_rsm_layernorm". Did you mean fast_rms_layernorm?',
    ],
    [
      "a wrong type",
      "plugins:\n  training:\n    moe:\n      scattermoe:\n        ep_degree: four",
      'f.yaml:5:20: training.moe.scattermoe.ep_degree: expected a number; found "four".',
    ],
    [
      "a wrong value",
      "plugins:\n  peft:\n    quantization:\n      bitsandbytes: {quant_type: nf44, no_peft_model: false}",
      'f.yaml:4:34: peft.quantization.bitsandbytes.quant_type: expected one of nf4, fp4; found "nf44". Did you mean nf4 or fp4?',
    ],
    [
      "a value that fits no form",
      "plugins:\n  training:\n    fused_ops_and_kernels:\n      fast_loss: 3",
      "f.yaml:4:18: training.fused_ops_and_kernels.fast_loss: expected true or false or fused_ce_liger; found 3.",
    ],
    [
      "a missing key",
      "plugins:\n  training:\n    attention:\n      padding_free: {}",
      "f.yaml:4:21: training.attention.padding_free.method is missing: expected huggingface.",
    ],
    [
      "a section that is no mapping",
      "plugins:\n  training:\n    attention:\n      padding_free: huggingface",
      'f.yaml:4:21: training.attention.padding_free: expected a mapping; found "huggingface".',
    ],
    [
      "a section without what else its plugin needs",
      "plugins:\n  training:\n    dataloader:\n      multipack:\n        num_processes: 16",
      "f.yaml:5:9: training.dataloader.multipack has no effect: MultipackDataloaderAccelerationPlugin also needs training.attention.",
    ],
    ["a key given twice", "plugins:\n  training:\n    moe: {}\n    moe: {}", "f.yaml:4:5: Map keys must be unique"],
    [
      "a key given twice by an alias",
      "plugins:\n  &a training: {}\n  *a : {}",
      'f.yaml:3:3: the key "training" is given twice.',
    ],
    [
      "a key that is a collection",
      "plugins:\n  ? [a]\n  : 1",
      "f.yaml:2:5: expected the name of a key, found a collection.",
    ],
    [
      "__proto__",
      "plugins:\n  __proto__: {a: 1}",
      "f.yaml:2:3: no installed plugin serves __proto__. Known here: peft, training. Add the package that brings the plugin, or remove the key.",
    ],
    ["an alias of itself", "plugins: &a\n  training: *a", expect.stringMatching(/^f\.yaml:\d+:\d+: /)],
    ["depth without end", `plugins: ${"[".repeat(100)}`, expect.stringMatching(/^f\.yaml:1:\d+: /)],
    ["YAML that is none", "plugins: {a: [1, 2}", expect.stringMatching(/^f\.yaml:1:\d+: /)],
    ["a tag that is not known", "plugins: !!python/object:os.system {}", expect.stringMatching(/^f\.yaml:1:10: /)],
  ])("%s", async (_, text, expected) => {
    expect((await linesOf(text))[0]).toEqual(expected);
  });

  test("bytes that are no text", async () => {
    const head = Buffer.from("plugins:\n  # na\u00efve \uFFFD\n  a: \u{1F600}x");
    for (const [wrong, place] of [
      [[0xff], "3:9"],
      [[0xc3, 0x28], "3:9"],
      [[0xe2, 0x82], "3:9"],
      [[0x0a, 0x0a, 0xed, 0xa0, 0x80], "5:1"],
    ] as const) {
      writeFileSync(file, Buffer.concat([head, Buffer.from(wrong)]));
      const create = AccelerationFramework.create(optionsOf(referenceRegistrations, { configuration: file }));
      await expect(create).rejects.toThrow(`${file}:${place}: this is not UTF-8 text.`);
    }
  });

  test("everything that is wrong, at once", async () => {
    const lines = await linesOf(
      "plugins:\n  trainin: {}\n  peft: 3\n  training:\n    moe:\n      scattermoe: {ep_degree: x, ep: 1}\nmore: 1",
    );
    expect(lines).toEqual(['f.yaml:7:1: unknown key "more".']);
    expect(
      await linesOf(
        "plugins:\n  trainin: {}\n  peft: 3\n  training:\n    moe:\n      scattermoe: {ep_degree: x, ep: 1}",
      ),
    ).toEqual([
      "f.yaml:2:3: no installed plugin serves trainin. Did you mean training?",
      "f.yaml:3:9: peft: expected a mapping of quantization; found 3.",
      'f.yaml:6:34: unknown key "ep". Known here: ep_degree, disable_distributed.',
      'f.yaml:6:31: training.moe.scattermoe.ep_degree: expected a number; found "x".',
    ]);
  });

  test("a schema that would pass unknown keys over, or whose own code fails", async () => {
    const loose = { ...simplePlugin("A", "a"), schemas: { a: z.object({ inner: z.object({ size: z.number() }) }) } };
    const text = "plugins:\n  a:\n    inner:\n      size: 1\n      siz: 2";
    const plugins = { registrations: [registration("p", loose)] };
    expect(await linesOf(text, { plugins })).toEqual(['f.yaml:5:7: unknown key "siz". Did you mean size?']);
    const check = (): never => {
      throw new TypeError("no such function");
    };
    const failing = { ...simplePlugin("A", "a"), schemas: { a: z.unknown().refine(check) } };
    expect(await linesOf("plugins: {a: 1}", { plugins: { registrations: [registration("p", failing)] } })).toEqual([
      "f.yaml:1:14: a: no such function; found 1.",
    ]);
  });
});

describe("a plugin that is not there", () => {
  const text = "plugins:\n  training:\n    moe:\n      scattermoe: {ep_degree: 2}";

  test("of this project: the package to add is named", async () => {
    expect(await linesOf(text, { plugins: { registrations: [] } })).toEqual([
      "f.yaml:4:19: training.moe.scattermoe is served by @fms-accel/accelerated-moe, which is not installed, and was not available yet when this version was made. Once it is: npx fms-accel install moe",
    ]);
    const here = "plugins: {training: {dataloader: {multipack: {}}}}";
    expect(await linesOf(here, { plugins: { registrations: [] } })).toEqual([
      "f.yaml:1:46: training.dataloader.multipack is served by @fms-accel/attention-and-distributed-packing, which is not installed. Add it: npx fms-accel install aadp",
    ]);
  });

  const problem: PluginProblem = {
    kind: "build",
    packageName: "@them/moe",
    version: "2.0.0",
    directory: "/somewhere",
    manifest: { shortname: "m", entry: ".", paths: ["training.moe.scattermoe"], options: ["fast_moe"] },
    message: "its native part is missing.",
    remedy: "Build it.",
  };

  test("installed but broken: it stops the run only if the configuration needs it", async () => {
    const plugins = { registrations: referenceRegistrations.slice(0, 3), problems: [problem] };
    expect(await linesOf(text, { plugins })).toEqual([
      "f.yaml:4:19: training.moe.scattermoe is served by @them/moe 2.0.0, which cannot be used: its native part is missing. Build it.",
    ]);
    writeFileSync(file, "plugins: {training: {attention: {padding_free: {method: huggingface}}}}");
    const run = await AccelerationFramework.create({ ...optionsOf([], { configuration: file }), plugins });
    expect(run.activePlugins.map(({ plugin }) => plugin.name)).toEqual(["PaddingFreeAccelerationPlugin"]);
  });

  test("asked for by a flag", async () => {
    const flag = (name: string): FrameworkOptions => ({ arguments: [{ name, value: ["1"], where: `--${name}` }] });
    const create = (rest: FrameworkOptions): Promise<AccelerationFramework> =>
      AccelerationFramework.create({ environment: {}, plugins: { registrations: [], problems: [problem] }, ...rest });
    await expect(create(flag("multipack"))).rejects.toThrow(
      "--multipack is a flag of @fms-accel/attention-and-distributed-packing, which is not installed. Add it: npx fms-accel install aadp",
    );
    await expect(create(flag("fast_moe"))).rejects.toThrow(
      "--fast_moe is a flag of @them/moe, which cannot be used: its native part is missing. Build it.",
    );
  });
});

test("a configuration as an object: places are paths in it, and what YAML has not is refused", async () => {
  const create = (plugins: unknown): Promise<AccelerationFramework> =>
    AccelerationFramework.create(
      optionsOf(referenceRegistrations, { configuration: { plugins } as { plugins: Record<string, unknown> } }),
    );
  await expect(create({ training: { moe: { scattermoe: { ep: 1 } } } })).rejects.toThrow(
    'configuration.plugins.training.moe.scattermoe.ep: unknown key "ep".',
  );
  const circle: Record<string, unknown> = {};
  circle["training"] = circle;
  await expect(create(circle)).rejects.toThrow("configuration.plugins.training: the object contains itself.");
  await expect(create({ training: new Date() })).rejects.toThrow("found one of class Date");
  await expect(create({ training: () => 1 })).rejects.toThrow("found a function");
});

describe("the JSON schema", () => {
  const schema = configurationJsonSchema(referenceRegistrations);

  test("has every section of the installed plugins, closed to other keys", () => {
    expect(schema).toMatchObject({ required: ["plugins"], additionalProperties: false });
    const below = (path: string): unknown =>
      path
        .split(".")
        .reduce<unknown>((at, name) => (at as { properties: Record<string, unknown> }).properties[name], schema);
    for (const { plugins } of referenceRegistrations) {
      for (const path of plugins.flatMap(({ schemas }) => Object.keys(schemas)))
        expect(below(`plugins.${path}`), path).toMatchObject({
          anyOf: [{ type: "object", additionalProperties: false }, { type: "null" }],
        });
    }
    expect(below("plugins.training.attention.padding_free")).toMatchObject({
      description: "No padding.",
      anyOf: [{ properties: { method: { const: "huggingface" } }, required: ["method"] }, {}],
    });
    expect(JSON.stringify(below("plugins.training"))).not.toContain("$schema");
  });

  test("is that of the plugins that are there", () => {
    expect(configurationJsonSchema([])).toMatchObject({ properties: { plugins: { type: "object" } } });
  });
});
