import { z } from "zod";
import { PluginError } from "../errors.ts";

/**
 * The key "fms-accel" of a plugin package's package.json:
 *
 * ```json
 * "fms-accel": {
 *   "shortname": "aadp",
 *   "entry": ".",
 *   "paths": ["training.attention.padding_free", "training.dataloader.multipack"],
 *   "options": ["padding_free", "multipack"]
 * },
 * "peerDependencies": { "@fms-accel/framework": "^0.1.0" }
 * ```
 *
 * It is read without running any code of the package, so that a package that cannot be loaded is still known for what it is needed.
 */
export interface PluginManifest {
  /** A short word for the command line; the package's name where it has none. */
  readonly shortname: string;
  /** The subpath of the package's exports whose module exports `plugins`, an array of AccelerationPlugin. Default: ".". */
  readonly entry: string;
  /** Every path under `plugins` that the package's schemas are for. */
  readonly paths: readonly string[];
  /** The flags that its plugins add, without `--`. */
  readonly options: readonly string[];
  /**
   * The commands that the entry's module exports as `commands`, with a line on
   * each: "assert-packing", or "preview --packing" for a mode of a command that there is.
   */
  readonly commands?: Readonly<Record<string, string>>;
}

const path = z
  .string()
  .regex(
    /^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$/,
    "expected names with dots between them, such as training.attention.padding_free",
  );

const manifestFields = z.strictObject({
  shortname: z.string().min(1).optional(),
  entry: z
    .string()
    .regex(/^\.(\/.+)?$/, 'expected "." or a subpath that begins with "./"')
    .default("."),
  paths: z.array(path).min(1),
  options: z.array(z.string().regex(/^[a-z]\w*$/, "expected a flag without --")).default([]),
  commands: z
    .record(z.string().regex(/^[a-z][\w-]*( --[a-z]\w*)?$/, "expected a command, or a command and a flag"), z.string())
    .default({}),
});

/** @throws PluginError that says what is wrong with which key */
export function parseManifest(packageName: string, value: unknown): PluginManifest {
  const parsed = manifestFields.safeParse(value);
  if (parsed.success) return { ...parsed.data, shortname: parsed.data.shortname ?? packageName };
  const faults = parsed.error.issues.map(({ path: at, message }) => `${["fms-accel", ...at].join(".")}: ${message}`);
  throw new PluginError(`its package.json is not as a plugin's should be: ${faults.join("; ")}`);
}
