import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { z } from "zod";
import { didYouMean } from "../cli/suggestions.ts";
import { ConfigurationError, UsageError } from "../errors.ts";
import { bundledFile } from "./bundled-files.ts";

const contentsSchema = z.object({
  framework_configs: z.array(
    z.object({
      shortname: z.string(),
      plugins: z.array(z.string()),
      missing_plugins: z.array(z.string()).default([]),
      filename: z.string(),
    }),
  ),
});

/** One entry of sample-configurations/CONTENTS.yaml. */
export interface SampleConfiguration {
  readonly shortname: string;
  readonly filename: string;
  /** Folders of the packages that it needs. */
  readonly plugins: readonly string[];
  /** Those among them that do not exist yet. */
  readonly missingPlugins: readonly string[];
}

/** The sample configurations that come with the package, in the order of CONTENTS.yaml. */
export function sampleConfigurations(): SampleConfiguration[] {
  const contents = readChecked(bundledFile("sample-configurations", "CONTENTS.yaml"), contentsSchema);
  return contents.framework_configs.map(({ missing_plugins: missingPlugins, ...entry }) => ({
    ...entry,
    missingPlugins,
  }));
}

/** The file of a sample configuration. */
export function sampleConfigurationFile({ filename }: SampleConfiguration): string {
  return bundledFile("sample-configurations", filename);
}

/** @throws UsageError that names the nearest known shortname */
export function findSampleConfiguration(shortname: string): SampleConfiguration {
  const known = sampleConfigurations();
  const found = known.find((entry) => entry.shortname === shortname);
  if (found !== undefined) return found;
  const near = didYouMean(
    shortname,
    known.map((entry) => entry.shortname),
  );
  throw new UsageError(`unknown configuration "${shortname}".${near} \`fms-accel configs\` lists them.`);
}

/**
 * Reads a YAML file against a schema.
 *
 * @throws ConfigurationError naming the file and the first entry that does not fit
 */
export function readChecked<Schema extends z.ZodType>(file: string, schema: Schema): z.output<Schema> {
  let value: unknown;
  try {
    value = parse(readFileSync(file, "utf8"));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigurationError(`${file}: cannot be read: ${reason}`, { cause: error });
  }
  const checked = schema.safeParse(value);
  if (checked.success) return checked.data;
  const [issue] = checked.error.issues;
  const path = issue?.path.map(String).join(".");
  throw new ConfigurationError(`${file}: ${path === "" ? "the file" : path}: ${issue?.message ?? "does not fit"}`);
}
