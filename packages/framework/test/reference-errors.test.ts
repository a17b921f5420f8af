/** What the original's framework refuses or passes over, case by case of the recorded ones, and what this one does instead. */
import { describe, expect, test } from "vitest";
import { AutoModelForCausalLM, type CausalLM } from "@fms-accel/models";
import { resolveTrainingArguments } from "@fms-accel/trainer";
import { fixturePath, readJsonFixture } from "@fms-accel/test-utilities";
import {
  AccelerationFramework,
  pluginCatalogue,
  type AccelerationPlugin,
  type ConfigurationInput,
  type FrameworkOptions,
} from "../src/index.ts";
import { findShapeFault } from "../src/plugins/plugin-shape.ts";
import { optionsOf, registration, simplePlugin } from "./plugins/reference-plugins.ts";

interface Recorded {
  readonly what: string;
  readonly configuration?: object;
  readonly error?: { readonly type: string; readonly message: string };
  readonly result?: unknown;
}

interface Registration {
  readonly class: string;
  readonly package: string;
  readonly AND: readonly string[] | null;
  readonly OR: readonly string[] | null;
}

const fixture = readJsonFixture<{ errors: Recorded[]; registrations: Registration[] }>("framework", "activation.json");
const recorded = new Map(fixture.errors.map((vector) => [vector.what, vector]));

const args = resolveTrainingArguments({ outputDir: "out" }).training;
const [A, B] = [simplePlugin("A", "a"), simplePlugin("B", "b")];
const loads = (name: string, path: string): AccelerationPlugin =>
  simplePlugin(name, path, { loadModel: () => Promise.resolve(`loaded by ${name}` as unknown as CausalLM) });
const request = { modelNameOrPath: "m", dtype: "auto", device: "cpu", onWarning: () => undefined } as const;

function create(
  plugins: readonly AccelerationPlugin[],
  configuration: unknown = { plugins: { a: { k: 1 } } },
  rest: FrameworkOptions = {},
): Promise<AccelerationFramework> {
  const given = configuration === undefined ? {} : { configuration: configuration as ConfigurationInput };
  return AccelerationFramework.create(optionsOf([registration("p", ...plugins)], { ...given, ...rest }));
}

const active = async (framework: Promise<AccelerationFramework>): Promise<string[]> =>
  (await framework).activePlugins.map(({ plugin }) => plugin.name);

async function augmentLlama(plugin: AccelerationPlugin): Promise<unknown> {
  const options = { dtype: "float32", onWarning: () => undefined } as const;
  const model = await AutoModelForCausalLM.fromPretrained(fixturePath("models", "llama"), options);
  return (await create([plugin])).augment({ model, args, peftConfig: undefined });
}

const only = (...restrictedArchitectures: string[]): AccelerationPlugin =>
  simplePlugin("A", "a", {}, { restrictedArchitectures });
const configurationOf = (what: string): unknown => recorded.get(what)?.configuration;

/** Refused there and here: what is done, and what this framework says. */
const refused: Readonly<Record<string, readonly [act: () => Promise<unknown>, message: RegExp]>> = {
  "neither a file nor the environment variable": [
    () => AccelerationFramework.create(optionsOf([registration("p", A)])),
    /^There is no acceleration framework configuration\. Give a file .*ACCELERATION_FRAMEWORK_CONFIG_FILE/,
  ],
  "no plugins key": [
    () => create([A], configurationOf("no plugins key")),
    /^configuration\.other: unknown key "other"\.\nconfiguration: expected a mapping with the key "plugins"; it is missing\./,
  ],
  "plugins is empty": [
    () => create([A], configurationOf("plugins is empty")),
    /^configuration\.plugins: expected a mapping of sections under "plugins"; found nothing\./,
  ],
  "plugins is an empty mapping": [
    () => create([A], configurationOf("plugins is an empty mapping")),
    /^configuration\.plugins: no plugin is configured here\./,
  ],
  "no plugin registered under the path": [
    () => create([A], { plugins: { z: { k: 1 } } }),
    /^configuration\.plugins\.z: no installed plugin serves z\. Known here: .*\ba\b/,
  ],
  "section is null": [
    () => create([A], { plugins: { a: null } }),
    /^configuration\.plugins: no plugin is configured here\./,
  ],
  "two custom loaders": [
    () => create([loads("A", "a"), loads("B", "b")], { plugins: { a: { k: 1 }, b: { k: 1 } } }),
    /^configuration\.plugins\.b: B opens the model, and so does A \(configuration\.plugins\.a\)\./,
  ],
  "model_loader without a loader": [
    async () => (await create([A])).loadModel(request),
    /^None of the active plugins \(A\) opens models: use AutoModelForCausalLM\.$/,
  ],
  "missing package": [
    () => create([simplePlugin("A", "a", {}, { requiredPackages: ["no_such_package_x"] })], undefined, onlyA(true)),
    /^The active plugin A needs the package no_such_package_x\. Add what is missing: npm install no_such_package_x/,
  ],
  "architecture not supported": [
    () => augmentLlama(only("XForCausalLM")),
    /^configuration\.plugins\.a: A cannot accelerate LlamaForCausalLM; it knows XForCausalLM\.$/,
  ],
  // A model always has an architecture here; a plugin that knows none is for none.
  "architectures is None": [
    () => augmentLlama(only()),
    /^configuration\.plugins\.a: A cannot accelerate LlamaForCausalLM/,
  ],
  "restriction is checked even without augmentation": [
    () => augmentLlama(simplePlugin("A", "a", {}, { restrictedArchitectures: ["Y"] })),
    /^configuration\.plugins\.a: A cannot accelerate LlamaForCausalLM; it knows Y\.$/,
  ],
};

function onlyA(checkPackages: boolean): FrameworkOptions {
  return { checkPackages, configuration: { plugins: { a: { k: 1 } } } };
}

/** Taken there, and here in the same way. */
const taken: Readonly<Record<string, () => Promise<void>>> = {
  async "two registrations of one class name: the second is skipped"() {
    const twice = [A, simplePlugin("A", "b")];
    expect(await active(create(twice, { plugins: { a: { k: 1 }, b: { k: 1 } } }))).toEqual(["A"]);
  },
  async "activation order is registration order, not file order"() {
    expect(await active(create([B, A], { plugins: { a: { k: 1 }, b: { k: 1 } } }))).toEqual(["B", "A"]);
  },
  async "model_loader goes to the one loader"() {
    const framework = await create([A, loads("B", "b")], { plugins: { a: { k: 1 }, b: { k: 1 } } });
    expect(await framework.loadModel(request)).toBe("loaded by B");
  },
  async "missing package, check off"() {
    const needy = simplePlugin("A", "a", {}, { requiredPackages: ["no_such_package_x"] });
    expect(await active(create([needy], undefined, onlyA(false)))).toEqual(["A"]);
  },
  async "one matching architecture is enough"() {
    expect(await augmentLlama(only("XForCausalLM", "LlamaForCausalLM"))).toBeDefined();
  },
};

/** Where this framework does something else. */
const otherwise: Readonly<Record<string, () => Promise<void>>> = {
  async "leftover keys are ignored"() {
    await expect(create([A], { plugins: { a: { k: 1 }, stray: { k: 1 } } })).rejects.toThrow(
      /^configuration\.plugins\.stray: no installed plugin serves stray\./,
    );
  },
  // A plugin changes the model by having the hook: it cannot say that it does and then not.
  async "requires_augmentation without an implementation"() {
    expect((await create([A])).requiresAugmentation).toBe(false);
    expect((await create([simplePlugin("A", "a", { augment: () => ({}) })])).requiresAugmentation).toBe(true);
  },
  // It is the package that is at fault; a run that does not need it goes on.
  "register with no path"() {
    const manifest = { shortname: "p", entry: ".", paths: ["a"], options: [] };
    expect(findShapeFault([{ ...A, paths: {} }], manifest)).toBe(
      "plugins[0] (A) names no path: give at least one in allOf or anyOf.",
    );
    return Promise.resolve();
  },
};

test("every recorded case is here", () => {
  const cases = [refused, taken, otherwise].flatMap((table) => Object.keys(table));
  expect(cases.toSorted()).toEqual([...recorded.keys()].toSorted());
});

describe("refused there and here", () => {
  test.each(Object.keys(refused))("%s", async (what) => {
    const [act, message] = refused[what] as (typeof refused)[string];
    expect(recorded.get(what)?.error).toBeDefined();
    await expect(act()).rejects.toThrow(message);
  });
});

describe("taken there and here", () => {
  test.each(Object.keys(taken))("%s", async (what) => {
    expect(recorded.get(what)?.result).toBeDefined();
    await taken[what]?.();
  });
});

describe("otherwise here", () => {
  test.each(Object.keys(otherwise))("%s", async (what) => otherwise[what]?.());
});

test("the catalogue serves the paths of every registration", () => {
  const packages: Readonly<Record<string, string>> = {
    fms_acceleration_peft: "peft",
    fms_acceleration_foak: "foak",
    fms_acceleration_aadp: "aadp",
    fms_acceleration_moe: "moe",
  };
  for (const entry of fixture.registrations) {
    const served = pluginCatalogue.find(({ shortname }) => shortname === packages[entry.package])?.paths ?? [];
    for (const path of [...(entry.AND ?? []), ...(entry.OR ?? [])]) {
      // "training.attention" is what padding_free stands in; multipack does without it here.
      if (path !== "training.attention") expect(served, entry.class).toContain(path);
    }
  }
});

test("defect: of a plugin with two sections both arrive, as they are", async () => {
  let given: unknown;
  const plugin: AccelerationPlugin = {
    ...simplePlugin("A", "training.ops"),
    paths: { anyOf: ["training.ops", "peft.ops"] },
    schemas: { ...simplePlugin("A", "training.ops").schemas, ...simplePlugin("A", "peft.ops").schemas },
    activate(configuration) {
      given = configuration;
      return {};
    },
  };
  const off = { fast_loss: false, fast_rope_embeddings: false };
  await create([plugin], { plugins: { training: { ops: off }, peft: { ops: { fused_lora: true } } } });
  expect(given).toEqual({ "training.ops": off, "peft.ops": { fused_lora: true } });
});
