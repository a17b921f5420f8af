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
}
