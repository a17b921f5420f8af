import { readJsonFixture } from "@fms-accel/test-utilities";
import { expect, it } from "vitest";
import { AccelerationFramework } from "../../src/acceleration-framework.ts";
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
