import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readJsonFixture, temporaryDirectory } from "@fms-accel/test-utilities";
import { z } from "zod";
import { AccelerationFramework, ConfigurationError, type AccelerationPlugin } from "../../src/index.ts";
import { activePaths } from "../../src/plugins/activation.ts";
import { optionsOf, referenceRegistrations, registration, simplePlugin } from "./reference-plugins.ts";

type Json = Readonly<Record<string, unknown>>;

interface Failing {
  readonly error?: { readonly type: string; readonly message: string };
}

interface Activation {
  readonly path_semantics: readonly (Failing & {
    readonly AND: readonly string[] | null;
    readonly OR: readonly string[] | null;
    readonly configuration: Json;
    readonly active?: boolean;
    readonly section?: Json | null;
  })[];
  readonly value_checks: readonly (Failing & {
    readonly configuration: Json;
    readonly values: readonly (string | boolean | number)[] | null;
    readonly default: unknown;
    readonly result?: unknown;
  })[];
  readonly environment_variable: readonly (Failing & {
    readonly argument_file: Json | null;
    readonly environment_file: Json;
    readonly result?: readonly string[];
  })[];
  readonly plugin_configurations: readonly (Failing & {
    readonly plugins: Json;
    readonly result?: {
      readonly active: readonly { class: string; requires_augmentation: boolean }[];
      readonly requires_custom_loading: boolean;
      readonly requires_augmentation: boolean;
    };
  })[];
}

const vectors = readJsonFixture<Activation>("framework", "activation.json");

function at(value: unknown, path: string): unknown {
  return path
    .split(".")
    .reduce<unknown>((below, name) => (isMapping(below) && Object.hasOwn(below, name) ? below[name] : null), value);
}

function isMapping(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The mapping that holds the contents of some paths of a configuration, and nothing else. */
function sectionOf(configuration: Json, paths: readonly string[]): Json {
  const result: Record<string, unknown> = {};
  for (const path of paths) {
    const names = path.split(".");
    const last = names.pop() as string;
    let below = result;
    for (const name of names) below = (below[name] ??= {}) as Record<string, unknown>;
    const content = at(configuration, path);
    below[last] = isMapping(below[last]) && isMapping(content) ? { ...below[last], ...content } : content;
  }
  return result;
}

const named = (list: Activation["path_semantics"]): (readonly [string, Activation["path_semantics"][number]])[] =>
  list.map((vector) => [JSON.stringify([vector.AND, vector.OR, vector.configuration]), vector]);

describe("which paths make a plugin active", () => {
  const sound = vectors.path_semantics.filter(({ error }) => error === undefined);

  test("all 285 vectors are here", () => {
    expect(vectors.path_semantics).toHaveLength(285);
    expect(sound.length).toBeGreaterThan(200);
  });

  test.each(named(sound))("%s", (_, { AND, OR, configuration, active, section }) => {
    const paths = { ...(AND === null ? {} : { allOf: AND }), ...(OR === null ? {} : { anyOf: OR }) };
    const counted = activePaths(paths, (path) => at(configuration, path) !== null);
    expect(counted.length > 0).toBe(active);
    if (active === true) expect(sectionOf(configuration, counted)).toEqual(section);
  });

  // Where the original ends with a TypeError of Python.
  test.each(named(vectors.path_semantics.filter(({ error }) => error !== undefined)))(
    "a scalar on the way to a path is an error with its place, or nothing when it is null: %s",
    async (_, { AND, OR, configuration }) => {
      const paths = [...(AND ?? []), ...(OR ?? [])];
      // Of paths inside of each other the outer one is the section.
      const owned = paths.filter((path) => !paths.some((other) => path.startsWith(`${other}.`)));
      const further = ["a", "b", "c"].filter((name) => !owned.some((path) => path.split(".")[0] === name));
      const plugin: AccelerationPlugin = {
        ...simplePlugin("P", "unused"),
        paths: { ...(AND === null ? {} : { allOf: AND }), ...(OR === null ? {} : { anyOf: OR }) },
        schemas: Object.fromEntries(owned.map((path) => [path, z.unknown()])),
      };
      const others = further.map((path) => simplePlugin(`Other_${path}`, path));
      const framework = AccelerationFramework.create(
        optionsOf([registration("p", plugin, ...others)], { configuration: { plugins: configuration } }),
      );
      const outcome = await framework.then(
        ({ activePlugins }) => activePlugins.map((active) => active.plugin.name),
        (error: unknown) => error,
      );
      if (Array.isArray(outcome)) expect(outcome.length).toBeGreaterThan(0);
      else {
        expect(outcome).toBeInstanceOf(ConfigurationError);
        expect((outcome as Error).message).toMatch(/^configuration\.plugins/);
      }
    },
  );
});

describe("settings are checked", () => {
  type Vector = Activation["value_checks"][number];

  /** Where this package refuses what the original takes: a mapping's value is lost there, and 1 is not true. */
  const isStricter = ({ configuration: { k }, values, default: fallback }: Vector): boolean =>
    values !== null &&
    (isMapping(k) ||
      (k === 1 && values.includes(true)) ||
      (k === true && values.includes(1)) ||
      ((k ?? null) === null && fallback === "outside"));

  const schemaOf = ({ values, default: fallback }: Vector): z.ZodType => {
    const base =
      values === null ? z.unknown().refine((value) => value !== undefined, "is missing") : z.literal([...values]);
    const allowed = fallback !== null && (values === null || values.includes(fallback as string | boolean));
    return allowed ? (base as z.ZodType).default(fallback) : base;
  };

  const outcomeOf = async (vector: Vector): Promise<unknown> => {
    let given: Json = {};
    const plugin: AccelerationPlugin = {
      ...simplePlugin("P", "s"),
      schemas: { s: z.object({ k: schemaOf(vector) }) },
      activate(configuration) {
        given = configuration["s"] as Json;
        return {};
      },
    };
    const configuration = { plugins: { s: vector.configuration } };
    await AccelerationFramework.create(optionsOf([registration("p", plugin)], { configuration }));
    return given["k"];
  };

  const name = (vector: Vector): readonly [string, Vector] => [
    JSON.stringify([vector.configuration, vector.values, vector.default]),
    vector,
  ];

  test("all 90 vectors are here", () => expect(vectors.value_checks).toHaveLength(90));

  test.each(vectors.value_checks.filter((vector) => vector.error === undefined && !isStricter(vector)).map(name))(
    "%s",
    async (_, vector) => expect(await outcomeOf(vector)).toEqual(vector.result),
  );

  test.each(vectors.value_checks.filter((vector) => vector.error !== undefined || isStricter(vector)).map(name))(
    "%s is refused with its place",
    async (_, vector) => {
      await expect(outcomeOf(vector)).rejects.toThrow(/^configuration\.plugins\.s(\.k)?: s\.k/);
    },
  );
});

describe("configurations of the original's plugins", () => {
  /** Taken by the original: an unknown key, a misspelt one, a text for a number. */
  const silent = new Set(["extra", "fast_rsm_layernorm", "four"]);
  const isSilent = (plugins: Json): boolean => [...silent].some((word) => JSON.stringify(plugins).includes(word));
  const create = (plugins: Json): Promise<AccelerationFramework> =>
    AccelerationFramework.create(optionsOf(referenceRegistrations, { configuration: { plugins } }));

  test.each(
    vectors.plugin_configurations
      .filter(({ error, plugins }) => error === undefined && !isSilent(plugins))
      .map((vector) => [JSON.stringify(vector.plugins), vector] as const),
  )("%s", async (_, { plugins, result }) => {
    const framework = await create(plugins);
    expect(
      framework.activePlugins.map(({ plugin, hooks }) => ({
        class: plugin.name,
        requires_augmentation: hooks.augment !== undefined,
      })),
    ).toEqual(result?.active.map(({ class: name, requires_augmentation }) => ({ class: name, requires_augmentation })));
    expect(framework.requiresCustomLoading).toBe(result?.requires_custom_loading);
    expect(framework.requiresAugmentation).toBe(result?.requires_augmentation);
  });

  test.each(
    vectors.plugin_configurations
      .filter(({ error, plugins }) => error !== undefined || isSilent(plugins))
      .map(({ plugins }) => [JSON.stringify(plugins), plugins] as const),
  )("%s is refused with its place", async (_, plugins) => {
    await expect(create(plugins)).rejects.toThrow(ConfigurationError);
    await expect(create(plugins)).rejects.toThrow(/^configuration\.plugins/);
  });
});

describe("the environment variable", () => {
  test.each(vectors.environment_variable)("$argument_file beside $environment_file", async (vector) => {
    const folder = temporaryDirectory();
    const write = (name: string, body: Json): string => {
      const path = join(folder, name);
      writeFileSync(path, JSON.stringify(body));
      return path;
    };
    const create = AccelerationFramework.create({
      ...optionsOf([registration("p", simplePlugin("A", "a"), simplePlugin("B", "b"))]),
      configuration: vector.argument_file === null ? undefined : write("given.yaml", vector.argument_file),
      environment: { ACCELERATION_FRAMEWORK_CONFIG_FILE: write("variable.yaml", vector.environment_file) },
    });
    if (vector.error === undefined) {
      expect((await create).activePlugins.map(({ plugin }) => plugin.name)).toEqual(vector.result);
    } else {
      await expect(create).rejects.toThrow(/given\.yaml:1:\d+: expected a mapping of sections/);
    }
  });
});

describe("the printout", () => {
  interface Messages {
    readonly initialization: readonly { readonly shortname: string; readonly lines: readonly string[] }[];
  }
  interface Configurations {
    readonly configurations: readonly { readonly shortname: string; readonly body: { readonly plugins: Json } }[];
  }
  const { initialization } = readJsonFixture<Messages>("framework", "messages.json");
  const { configurations } = readJsonFixture<Configurations>("framework", "configurations.json");

  const printoutOf = async (plugins: Json): Promise<readonly string[]> => {
    const options = optionsOf(referenceRegistrations, { configuration: { plugins } });
    return (await AccelerationFramework.create(options)).printout();
  };
  /** Some of the original's own files misspell a key, which it passes over: see below. */
  const mended = (shortname: string): Json => {
    const body = JSON.stringify(configurations.find((entry) => entry.shortname === shortname)?.body.plugins);
    return JSON.parse(body.replaceAll("fast_rsm_layernorm", "fast_rms_layernorm")) as Json;
  };

  test.each(initialization)("of $shortname", async ({ shortname, lines }) => {
    // npm packages, not Python's.
    const expected = lines.map((line) => line.replace("Python package", "Package").replace("<version>", "1.2.3"));
    expect((await printoutOf(mended(shortname))).slice(0, lines.length)).toEqual(expected);
  });

  test("defect: a misspelt key in the original's own files is an error here, not lost", async () => {
    const misspelt = configurations.filter(({ body }) => JSON.stringify(body).includes("fast_rsm_layernorm"));
    expect(misspelt.length).toBeGreaterThan(0);
    for (const { body } of misspelt) {
      await expect(printoutOf(body.plugins)).rejects.toThrow(
        'fast_rsm_layernorm: unknown key "fast_rsm_layernorm". Did you mean fast_rms_layernorm?',
      );
    }
  });

  test("all 26 configurations are here", () => expect(initialization).toHaveLength(26));
});
