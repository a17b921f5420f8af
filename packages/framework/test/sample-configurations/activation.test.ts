import { readJsonFixture } from "@fms-accel/test-utilities";
import { expect, it } from "vitest";
import { AccelerationFramework } from "../../src/acceleration-framework.ts";
import { ConfigurationError } from "../../src/errors.ts";
import { discoverPlugins } from "../../src/plugins/discover-plugins.ts";
import { sampleConfigurationFile, sampleConfigurations } from "../../src/samples/sample-configurations.ts";
import { optionsOf, referenceRegistrations } from "../plugins/reference-plugins.ts";
import { repositoryPath } from "./repository.ts";

interface Reference {
  readonly shortname: string;
  readonly filename: string;
  readonly activates: {
    readonly active: readonly { readonly class: string }[];
    readonly requires_custom_loading: boolean;
    readonly requires_augmentation: boolean;
  };
}

const { configurations } = readJsonFixture<{ configurations: Reference[] }>("framework", "configurations.json");

it.each(configurations)(
  "the file of $shortname activates what the original's does",
  async ({ filename, activates }) => {
    const configuration = repositoryPath("sample-configurations", filename);
    const framework = await AccelerationFramework.create(optionsOf(referenceRegistrations, { configuration }));
    expect(framework.activePlugins.map(({ plugin }) => plugin.name)).toEqual(
      activates.active.map((entry) => entry.class),
    );
    expect(framework.requiresCustomLoading).toBe(activates.requires_custom_loading);
    expect(framework.requiresAugmentation).toBe(activates.requires_augmentation);
  },
);

it.each(sampleConfigurations())(
  "$shortname runs with the plugins that there are, or says with line and column which one is missing",
  async (sample) => {
    const file = sampleConfigurationFile(sample);
    const plugins = await discoverPlugins(repositoryPath());
    const created = AccelerationFramework.create({ ...optionsOf([], { configuration: file }), plugins });
    if (sample.missingPlugins.length === 0) {
      expect((await created).requiresAugmentation).toBe(true);
      return;
    }
    const error: unknown = await created.catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ConfigurationError);
    const lines = (error as Error).message.split("\n");
    for (const line of lines) expect(line).toMatch(/\.yaml:\d+:\d+: [\w.]+ is served by .* not available yet/);
    const named = lines.map((line) => /served by @fms-accel\/([\w-]+)/.exec(line)?.[1]);
    expect(new Set(named)).toEqual(new Set(sample.missingPlugins));
  },
);
