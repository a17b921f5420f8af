import { describe, expect, test } from "vitest";
import { fixturePath } from "@fms-accel/test-utilities";
import { AutoModelForCausalLM, LoraConfig, RMSNorm, type CausalLM } from "@fms-accel/models";
import { tensor } from "@fms-accel/tensor";
import { resolveTrainingArguments, type Communicator } from "@fms-accel/trainer";
import {
  AccelerationFramework,
  ConfigurationError,
  modelPatcherRule,
  moduleIs,
  PatchError,
  PluginError,
  type AccelerationPlugin,
  type Augmentation,
  type FrameworkOptions,
  type PluginHooks,
} from "../src/index.ts";
import { optionsOf, registration, simplePlugin } from "./plugins/reference-plugins.ts";

const args = resolveTrainingArguments({ outputDir: "out" }).training;
const openModel = (name = "llama"): Promise<CausalLM> =>
  AutoModelForCausalLM.fromPretrained(fixturePath("models", name), { dtype: "float32", onWarning: () => undefined });

/** A framework of plugins A, B, … for the sections a, b, …, all configured. */
function framework(hooks: readonly PluginHooks[], rest: FrameworkOptions = {}): Promise<AccelerationFramework> {
  const names = hooks.map((_, index) => String.fromCodePoint(97 + index));
  const plugins = hooks.map((own, index) => simplePlugin((names[index] ?? "").toUpperCase(), names[index] ?? "", own));
  const configuration = { plugins: Object.fromEntries(names.map((name) => [name, { k: 1 }])) };
  return AccelerationFramework.create(optionsOf([registration("p", ...plugins)], { configuration, ...rest }));
}

const augmenting = (augmentation: Augmentation): PluginHooks => ({ augment: () => augmentation });
const scaleNorms = (id: string): ReturnType<typeof modelPatcherRule> =>
  modelPatcherRule({ id, trigger: moduleIs(RMSNorm), forward: (_, x) => x });

function logits(model: CausalLM): number[] {
  const inputIds = tensor(Int32Array.of(1, 2, 3, 4), { shape: [1, 4], dtype: "int32" });
  return model.forward({ inputIds }).logits.toArray();
}

describe("a run", () => {
  test("threads model and adapter through the plugins in their order, and ends with the callbacks", async () => {
    const [given, other] = [await openModel(), await openModel()];
    const config = new LoraConfig({ r: 2, targetModules: ["q_proj"] });
    const seen: unknown[] = [];
    const begin = { onTrainBegin: (): void => undefined };
    const run = await framework([
      { augment: (input) => (seen.push(input), { model: other, peftConfig: config }), callbacks: () => [begin] },
      { augment: (input) => (seen.push(input), { peftConfig: null }) },
      { augment: (input) => (seen.push(input), {}) },
      {},
    ]);
    const augmented = await run.augment({ model: given, args, peftConfig: undefined });
    expect(seen).toEqual([
      { model: given, args, peftConfig: undefined },
      { model: other, args, peftConfig: config },
      { model: other, args, peftConfig: undefined },
    ]);
    expect(augmented.model).toBe(other);
    expect(augmented.peftConfig).toBeUndefined();
    expect(run.readyForTrain({ model: other, args })).toEqual([begin]);
  });

  test("patches the complete model, says so, and gives it back", async () => {
    const model = await openModel();
    const before = logits(model);
    const lines: string[] = [];
    const run = await framework(
      [
        augmenting({
          rules: [scaleNorms("llama-rms")],
          slots: { collator: { id: "flattening-collator", build: (standard) => standard } },
        }),
        augmenting({ rules: [scaleNorms("late")] }),
      ],
      { say: (line) => lines.push(line) },
    );
    await run.augment({ model, args, peftConfig: undefined });
    expect(logits(model)).toEqual(before);
    run.readyForTrain({ model, args });
    expect(logits(model)).not.toEqual(before);
    const norms = [...model.namedModules()].filter(([, module]) => module instanceof RMSNorm).length;
    expect(lines).toEqual([
      "***** FMS AccelerationFramework *****",
      "Active Plugin: A. Package: p. Version: 1.2.3.",
      "Active Plugin: B. Package: p. Version: 1.2.3.",
      "***************** Module Forwards Patching *************",
      `Rule: llama-rms       Module: input_layernorm           Class: RMSNorm         Num: ${String((norms - 1) / 2).padStart(2)}`,
      "Rule: llama-rms       Module: norm                      Class: RMSNorm         Num:  1",
      `Rule: llama-rms       Module: post_attention_layernorm  Class: RMSNorm         Num: ${String((norms - 1) / 2).padStart(2)}`,
      "***************** Accelerator Patching *************",
      "Rule: flattening-collator       Kind: replacement Component: data_collator       ",
      expect.stringMatching(/^Rule "late" is not applied to \d+ modules "input_layernorm"/) as string,
      expect.stringMatching(/^Rule "late" is not applied to \d+ modules "post_attention_layernorm"/) as string,
      'Rule "late" is not applied to model.norm: rule "llama-rms" came first.',
    ]);
    run.undo();
    expect(logits(model)).toEqual(before);
  });

  test("threads the training arguments through the plugins, and shows what they changed", async () => {
    const model = await openModel();
    const lines: string[] = [];
    const seen: unknown[] = [];
    const run = await framework(
      [
        augmenting({ args: { evalSteps: 3, perDeviceTrainBatchSize: 1, seed: 42, maxSteps: undefined } }),
        { augment: (input) => (seen.push(input.args), { args: { maxSteps: 5, perDeviceTrainBatchSize: 1 } }) },
        {},
      ],
      { say: (line) => lines.push(line) },
    );
    const augmented = await run.augment({ model, args, peftConfig: undefined });
    expect(seen).toEqual([{ ...args, evalSteps: 3, perDeviceTrainBatchSize: 1 }]);
    expect(augmented.args).toEqual({
      ...args,
      evalSteps: 3,
      perDeviceTrainBatchSize: 1,
      maxSteps: 5,
    });
    expect(args.perDeviceTrainBatchSize).toBe(8);
    run.readyForTrain({ model, args: augmented.args });
    expect(lines.filter((line) => line.startsWith("Argument:"))).toEqual([
      "Argument: per_device_train_batch_size is 1 instead of 8, as A needs it.",
      "Argument: eval_steps is 3 instead of unset, as A needs it.",
      "Argument: max_steps is 5 instead of -1, as B needs it.",
    ]);
  });

  test("speaks on rank 0 only", async () => {
    const lines: string[] = [];
    const communicator = { rank: 1, size: 2 } as Communicator;
    const model = await openModel();
    const run = await framework([{}], { say: (line) => lines.push(line), communicator });
    await run.augment({ model, args, peftConfig: undefined });
    run.readyForTrain({ model, args });
    expect(lines).toEqual([]);
  });

  test("is made once: stages come in their order and not again", async () => {
    const model = await openModel();
    const run = await framework([{}]);
    expect(() => run.readyForTrain({ model, args })).toThrow(PluginError);
    await run.augment({ model, args, peftConfig: undefined });
    await expect(run.augment({ model, args, peftConfig: undefined })).rejects.toThrow(/Make a new one for every run/);
  });

  test("opens the model by the one plugin that does", async () => {
    const model = await openModel();
    const run = await framework([
      {},
      { loadModel: ({ modelNameOrPath }) => Promise.resolve(modelNameOrPath === "m" ? model : (undefined as never)) },
    ]);
    expect(run.requiresCustomLoading).toBe(true);
    const request = { modelNameOrPath: "m", dtype: "auto", device: "cpu", onWarning: () => undefined } as const;
    expect(await run.loadModel(request)).toBe(model);
    await expect((await framework([{}])).loadModel(request)).rejects.toThrow(
      /None of the active plugins \(A\) opens models/,
    );
  });
});

describe("what plugins can do wrong", () => {
  const load: PluginHooks = { loadModel: () => Promise.reject(new Error("not opened")) };

  test("two open the model", async () => {
    await expect(framework([load, {}, load])).rejects.toThrow(
      "configuration.plugins.c: C opens the model, and so does A (configuration.plugins.a). One plugin at most can: remove one of the two sections.",
    );
  });

  test("two claim one slot, or one name", async () => {
    const collator = (id: string): PluginHooks =>
      augmenting({ slots: { collator: { id, build: (standard) => standard } } });
    const loss: PluginHooks = augmenting({ slots: { loss: { id: "x", build: (standard) => standard } } });
    const model = await openModel();
    const first = await framework([collator("x"), collator("y")]);
    await expect(first.augment({ model, args, peftConfig: undefined })).rejects.toThrow(
      "configuration.plugins.b: B wants to replace the collator, but A (configuration.plugins.a) already does. Remove one of the two sections.",
    );
    const second = await framework([collator("x"), loss]);
    await expect(second.augment({ model, args, peftConfig: undefined })).rejects.toThrow(/call its replacement "x"/);
  });

  test.each<[what: string, hooks: readonly Augmentation["args"][], message: string]>([
    [
      "two want different values of an argument",
      [{ maxSteps: 3 }, { maxSteps: 3 }, { maxSteps: 4 }],
      "configuration.plugins.c: C wants max_steps to be 4, but A (configuration.plugins.a) needs 3. Remove one of the two sections.",
    ],
    [
      "the second wants what the arguments had before the first",
      [{ maxSteps: 3 }, { maxSteps: args.maxSteps }],
      "configuration.plugins.b: B wants max_steps to be -1, but A (configuration.plugins.a) needs 3. Remove one of the two sections.",
    ],
    [
      "a value that an argument cannot have",
      [{ perDeviceTrainBatchSize: 0 }],
      "configuration.plugins.a: A changes the training arguments: perDeviceTrainBatchSize: expected",
    ],
    [
      "an argument that is not there",
      [{ maxStep: 3 } as object],
      "configuration.plugins.a: A changes the training arguments: maxStep: no such training argument. Did you mean maxSteps?",
    ],
    [
      "arguments that contradict others",
      [{ bf16: true }, { fp16: true }],
      "configuration.plugins.b: B changes the training arguments: bf16 and fp16 exclude each other; give one of them.",
    ],
  ])("%s", async (_, wanted, message) => {
    const run = await framework(wanted.map((own) => augmenting({ args: own ?? {} })));
    const augmented = run.augment({ model: await openModel(), args, peftConfig: undefined });
    await expect(augmented).rejects.toThrow(message);
    await expect(augmented).rejects.toThrow(ConfigurationError);
  });

  test("two rules of one id", async () => {
    const run = await framework([augmenting({ rules: [scaleNorms("r")] }), augmenting({ rules: [scaleNorms("r")] })]);
    const augmented = run.augment({ model: await openModel(), args, peftConfig: undefined });
    await expect(augmented).rejects.toThrow(PatchError);
    await expect(
      (await framework([augmenting({ rules: [scaleNorms("r")] })])).augment({
        model: await openModel(),
        args,
        peftConfig: undefined,
      }),
    ).resolves.toBeDefined();
  });

  test("an architecture that one cannot accelerate, also when it changes nothing", async () => {
    const plugin = simplePlugin("A", "a", {}, { restrictedArchitectures: ["GraniteForCausalLM", "LlamaForCausalLM"] });
    const create = (): Promise<AccelerationFramework> =>
      AccelerationFramework.create(optionsOf([registration("p", plugin)], { configuration: { plugins: { a: {} } } }));
    const gpt2 = { model: await openModel("gpt2"), args, peftConfig: undefined };
    await expect((await create()).augment(gpt2)).rejects.toThrow(
      "configuration.plugins.a: A cannot accelerate GPT2LMHeadModel; it knows GraniteForCausalLM, LlamaForCausalLM.",
    );
    const llama = { model: await openModel(), args, peftConfig: undefined };
    expect((await (await create()).augment(llama)).model).toBe(llama.model);
  });

  test("a package or kernel that is not there", async () => {
    const create = (rest: Partial<AccelerationPlugin>, checkPackages: boolean): Promise<AccelerationFramework> =>
      AccelerationFramework.create({
        ...optionsOf([registration("p", simplePlugin("A", "a", {}, rest))], { configuration: { plugins: { a: {} } } }),
        checkPackages,
      });
    const required = { requiredPackages: ["no-such-package-x", "vitest"] };
    await expect(create(required, true)).rejects.toThrow(
      "The active plugin A needs the package no-such-package-x. Add what is missing: npm install no-such-package-x",
    );
    expect((await create(required, false)).activePlugins).toHaveLength(1);
    const load = (): never => {
      throw new Error("it is not built: npm rebuild p");
    };
    await expect(create({ kernels: [{ name: "varlen_attention", load }] }, false)).rejects.toThrow(
      "The active plugin A needs the kernel varlen_attention, which cannot be used: it is not built: npm rebuild p",
    );
  });

  test("one is registered twice: it runs once, which is said", async () => {
    const lines: string[] = [];
    const packages = [registration("p", simplePlugin("A", "a")), registration("q", simplePlugin("A", "b"))];
    const run = await AccelerationFramework.create(
      optionsOf(packages, { configuration: { plugins: { a: {}, b: {} } }, say: (line) => lines.push(line) }),
    );
    expect(run.activePlugins.map(({ registration: { packageName } }) => packageName)).toEqual(["p"]);
    expect(lines).toEqual(["A of q is left out: p brings it already."]);
  });

  test("two want one section", async () => {
    const packages = [registration("p", simplePlugin("A", "a.b")), registration("q", simplePlugin("B", "a"))];
    await expect(AccelerationFramework.create(optionsOf(packages, { configuration: { plugins: {} } }))).rejects.toThrow(
      "B wants the section a, and A has a.b. A section belongs to one plugin: remove one of the two.",
    );
  });
});

describe("order", () => {
  const orderOf = async (...plugins: readonly AccelerationPlugin[]): Promise<string[]> => {
    const packages = plugins.map((plugin) => registration(`package-${plugin.name}`, plugin));
    const sections = Object.fromEntries(plugins.toReversed().map(({ name }) => [name.toLowerCase(), {}]));
    const run = await AccelerationFramework.create(optionsOf(packages, { configuration: { plugins: sections } }));
    return run.activePlugins.map(({ plugin }) => plugin.name);
  };
  const plugin = (name: string, ...after: string[]): AccelerationPlugin =>
    simplePlugin(name, name.toLowerCase(), {}, { after });

  test("is that of registration, not of the file", async () => {
    expect(await orderOf(plugin("B"), plugin("A"))).toEqual(["B", "A"]);
  });
  test("puts plugins after those that they name, by plugin or package", async () => {
    expect(await orderOf(plugin("A", "C"), plugin("B"), plugin("C", "package-D"), plugin("D"))).toEqual([
      "D",
      "C",
      "A",
      "B",
    ]);
  });
  test("refuses a circle", async () => {
    await expect(orderOf(plugin("A", "B"), plugin("B", "A"))).rejects.toThrow("A after B after A");
  });
});

describe("defects of the original that are not here", () => {
  test("no global state: two frameworks at work side by side, on two models", async () => {
    const [one, two] = [await openModel(), await openModel()];
    const before = logits(one);
    const first = await framework([augmenting({ rules: [scaleNorms("r")] })]);
    const second = await framework([{}, augmenting({ rules: [scaleNorms("r"), scaleNorms("s")] })]);
    await second.augment({ model: two, args, peftConfig: undefined });
    await first.augment({ model: one, args, peftConfig: undefined });
    second.readyForTrain({ model: two, args });
    expect(logits(one)).toEqual(before);
    first.readyForTrain({ model: one, args });
    expect([first, second].map(({ activePlugins }) => activePlugins.length)).toEqual([1, 2]);
    expect([first, second].map(({ patcher }) => patcher.rules.length)).toEqual([1, 2]);
    second.undo();
    expect(logits(two)).toEqual(before);
    expect(logits(one)).not.toEqual(before);
    first.undo();
    expect(logits(one)).toEqual(before);
  });

  test("a scalar where a mapping is expected is an error with its place, not a crash", async () => {
    const create = AccelerationFramework.create(
      optionsOf([registration("p", simplePlugin("A", "a.x.y"))], { configuration: { plugins: { a: { x: "text" } } } }),
    );
    await expect(create).rejects.toThrow('configuration.plugins.a.x: a.x: expected a mapping of y; found "text".');
  });

  test("nothing configured is an error that says how to configure", async () => {
    const create = (rest: FrameworkOptions): Promise<AccelerationFramework> =>
      AccelerationFramework.create(optionsOf([registration("p", simplePlugin("A", "a"))], rest));
    await expect(create({})).rejects.toThrow(
      /--acceleration_framework_config_file.*ACCELERATION_FRAMEWORK_CONFIG_FILE/,
    );
    await expect(create({ configuration: { plugins: {} } })).rejects.toThrow(/no plugin is configured here/);
    await expect(create({ configuration: { plugins: { a: null } } })).rejects.toThrow(/no plugin is configured here/);
    expect(await AccelerationFramework.createIfConfigured(optionsOf([]))).toBeUndefined();
  });
});

describe("a plugin whose code fails", () => {
  const fail = (): never => {
    throw new TypeError("Cannot read properties of undefined (reading 'x')");
  };
  const named = (hook: string): string =>
    `configuration.plugins.a: A of p 1.2.3 fails in ${hook}: Cannot read properties of undefined (reading 'x'). This is for its authors`;

  test("is named, with what of it failed, and is no fault of the program", async () => {
    const broken = simplePlugin("A", "a", {}, { activate: fail });
    const configuration = { plugins: { a: { k: 1 } } };
    const created = AccelerationFramework.create(optionsOf([registration("p", broken)], { configuration }));
    await expect(created).rejects.toThrow(named("activate"));
    await expect(created).rejects.toBeInstanceOf(PluginError);
    const request = { modelNameOrPath: "m", dtype: "auto", device: "cpu", onWarning: () => undefined } as const;
    await expect((await framework([{ loadModel: fail }])).loadModel(request)).rejects.toThrow(named("loadModel"));
    const model = await openModel();
    const input = { model, args, peftConfig: undefined };
    await expect((await framework([{ augment: fail }])).augment(input)).rejects.toThrow(named("augment"));
    const run = await framework([{ callbacks: fail }]);
    await run.augment(input);
    expect(() => run.readyForTrain({ model, args })).toThrow(named("callbacks"));
  });

  test("unless it means its error for the user", async () => {
    const refuse = (): never => {
      throw new ConfigurationError("a: this needs more ranks.");
    };
    const run = await framework([{ augment: refuse }]);
    const augmented = run.augment({ model: await openModel(), args, peftConfig: undefined });
    await expect(augmented).rejects.toThrow(/^a: this needs more ranks\.$/);
  });
});
