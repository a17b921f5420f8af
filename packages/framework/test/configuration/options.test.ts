import { describe, expect, test } from "vitest";
import { readJsonFixture } from "@fms-accel/test-utilities";
import { ArgumentError, type RawArgument } from "@fms-accel/trainer";
import { AccelerationFramework, ConfigurationError, type FrameworkOptions } from "../../src/index.ts";
import { plainValue } from "../../src/configuration/configuration-node.ts";
import { nodeOfOptions } from "../../src/configuration/option-source.ts";
import { optionsOf, referenceRegistrations } from "../plugins/reference-plugins.ts";

interface Example {
  readonly argv: readonly string[];
  readonly result?: { readonly framework_configuration: { readonly result?: object; readonly error?: object } };
  readonly error?: { readonly type: string; readonly message: string };
}

const options = referenceRegistrations.flatMap(({ plugins }) => plugins.flatMap((plugin) => plugin.options ?? []));
const names = new Set(options.map(({ name }) => name));

/** As the command line gives them: a flag with all of its words. */
function parse(argv: readonly string[]): RawArgument[] {
  const given: { name: string; value: string[]; where: string }[] = [];
  for (const word of argv) {
    if (word.startsWith("--")) given.push({ name: word.slice(2), value: [], where: word });
    else given.at(-1)?.value.push(word);
  }
  return given;
}

function configurationOf(given: readonly RawArgument[]): unknown {
  const node = nodeOfOptions(given, options);
  return node === undefined ? {} : plainValue(node, "keep");
}

const create = (rest: FrameworkOptions): Promise<AccelerationFramework> =>
  AccelerationFramework.create(optionsOf(referenceRegistrations, rest));

describe("flags of plugins make the configuration that fms-hf-tuning makes of them", () => {
  const { examples } = readJsonFixture<{ examples: Example[] }>("framework", "sft_trainer_arguments.json");
  const own = examples.filter(
    ({ argv }) => argv.length === 0 || argv.some((word) => names.has(word.replace("--", ""))),
  );
  const made = own.filter(({ result }) => result?.framework_configuration.result !== undefined);

  test("there are such examples", () => expect(made.length).toBeGreaterThan(10));

  test.each(made)("$argv", ({ argv, result }) => {
    expect(configurationOf(parse(argv))).toEqual(result?.framework_configuration.result);
  });

  // Which settings go together is for the plugins to say: --fused_lora asks for a quantised base and for itself to be on.
  const refused = own.filter(({ result, argv }) => result === undefined && argv[0] !== "--fused_lora");

  test.each(refused)("$argv is refused by the flag's name", async ({ argv }) => {
    const error: unknown = await create({ arguments: parse(argv) }).catch((thrown: unknown) => thrown);
    expect(error instanceof ConfigurationError || error instanceof ArgumentError, String(error)).toBe(true);
    expect((error as Error).message).toMatch(new RegExp(`^${argv[0]}`));
  });

  test("--multipack alone is refused here too", async () => {
    await expect(create({ arguments: parse(["--multipack", "16"]) })).rejects.toThrow(
      "--multipack: training.dataloader.multipack has no effect: MultipackDataloaderAccelerationPlugin also needs training.attention.",
    );
  });
});

describe("values", () => {
  const flag = (name: string, value: unknown): RawArgument[] => [{ name, value, where: `--${name}` }];

  test("may be typed, as in a file of arguments", () => {
    expect(configurationOf(flag("multipack", 8))).toEqual({
      training: { dataloader: { multipack: { num_processes: 8 } } },
    });
    expect(configurationOf(flag("fast_kernels", [true, false]))).toEqual({
      training: { fused_ops_and_kernels: { fast_loss: true, fast_rms_layernorm: false, fast_rope_embeddings: false } },
    });
    expect(configurationOf(flag("padding_free", true))).toEqual({
      training: { attention: { padding_free: { method: "huggingface" } } },
    });
  });

  test.each([null, undefined, false, "None"])("%s is as if nothing was given", (value) => {
    expect(configurationOf(flag("padding_free", value))).toEqual({});
  });

  test("too many, and of the wrong type", () => {
    expect(() => configurationOf(flag("multipack", ["1", "2"]))).toThrow(
      "--multipack: expected at most 1 values (num_processes); found 2.",
    );
    expect(() => configurationOf(flag("multipack", ["many"]))).toThrow(/^--multipack num_processes/);
  });

  test("defect: nothing is remembered from one parse to the next", () => {
    const argv = ["--fast_kernels", "True", "False", "True", "--multipack", "4", "--padding_free", "huggingface"];
    const first = configurationOf(parse(argv));
    expect(configurationOf(parse(argv))).toEqual(first);
    expect(configurationOf(parse(["--fast_kernels", "False"]))).toEqual({
      training: { fused_ops_and_kernels: { fast_loss: false, fast_rms_layernorm: false, fast_rope_embeddings: false } },
    });
  });
});

describe("flags beside a configuration", () => {
  const arguments_ = parse(["--fast_moe", "4"]);

  test("add to it, and win over it, which is said", async () => {
    const lines: string[] = [];
    const configuration = {
      plugins: {
        training: { moe: { scattermoe: { ep_degree: 2 } }, attention: { padding_free: { method: "huggingface" } } },
      },
    };
    const run = await create({ configuration, arguments: arguments_, say: (line) => lines.push(line) });
    expect(run.activePlugins.map(({ plugin, configuration: given }) => [plugin.name, given])).toEqual([
      ["PaddingFreeAccelerationPlugin", { "training.attention.padding_free": { method: "huggingface" } }],
      ["ScatterMoEAccelerationPlugin", { "training.moe.scattermoe": { ep_degree: 4, disable_distributed: false } }],
    ]);
    expect(lines).toEqual([
      "--fast_moe replaces training.moe.scattermoe.ep_degree of configuration.plugins.training.moe.scattermoe.ep_degree.",
    ]);
  });

  test("make the environment variable not count", async () => {
    const environment = { ACCELERATION_FRAMEWORK_CONFIG_FILE: "there/is/no/such.yaml" };
    const run = await create({ arguments: arguments_, environment });
    expect(run.activePlugins).toHaveLength(1);
    await expect(create({ environment })).rejects.toThrow(/no\/such\.yaml: the configuration file cannot be read/);
  });
});
