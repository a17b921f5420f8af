import { z } from "zod";
import { scenarioFiles } from "./bundled-files.ts";
import { readChecked } from "./sample-configurations.ts";

const argumentValue = z.union([z.string(), z.number(), z.boolean(), z.null()]);
const scenariosSchema = z.object({
  scenarios: z.array(
    z.object({
      name: z.string(),
      framework_config: z.array(z.string().nullable()).default([null]),
      arguments: z.record(z.string(), z.union([argumentValue, z.array(argumentValue)])),
    }),
  ),
});

/** A benchmark scenario that uses one or more of the wanted configurations. */
export interface ScenarioMatch {
  readonly scenario: string;
  readonly shortnames: readonly string[];
  /** Flags with their values, as they are typed in a shell. */
  readonly flags: readonly string[];
}

/**
 * The scenarios that use one of the configurations, with their arguments, the model left out.
 *
 * @param file a scenario file; without it, those that come with the package: the main one, and the others for what the main one lacks
 */
export function findScenarios(shortnames: readonly string[], file?: string): ScenarioMatch[] {
  if (file !== undefined) return matchesIn(file, shortnames);
  const matches: ScenarioMatch[] = [];
  let wanted = shortnames;
  for (const bundled of scenarioFiles()) {
    matches.push(...matchesIn(bundled, wanted));
    wanted = wanted.filter((name) => !matches.some((match) => match.shortnames.includes(name)));
  }
  return matches;
}

function matchesIn(file: string, wanted: readonly string[]): ScenarioMatch[] {
  return readChecked(file, scenariosSchema).scenarios.flatMap((scenario) => {
    const shortnames = wanted.filter((name) => scenario.framework_config.includes(name));
    if (shortnames.length === 0) return [];
    const values = Object.entries(scenario.arguments).filter(
      ([name, value]) => name !== "model_name_or_path" && value !== null,
    );
    const flags = values.map(([name, value]) => `--${name} ${[value].flat().map(shellWord).join(" ")}`);
    return [{ scenario: scenario.name, shortnames, flags }];
  });
}

/** A value as a shell takes it; booleans are written as in Hugging Face's command lines. */
function shellWord(value: string | number | boolean | null): string {
  if (typeof value === "boolean") return value ? "True" : "False";
  const text = String(value);
  if (/^[\w./:=@%+,-]+$/.test(text)) return text;
  if (!/[\n\t\\]/.test(text)) return `'${text.replaceAll("'", String.raw`'\''`)}'`;
  const escaped = text.replaceAll("\\", "\\\\").replaceAll("'", "\\'").replaceAll("\n", "\\n").replaceAll("\t", "\\t");
  return `$'${escaped}'`;
}
