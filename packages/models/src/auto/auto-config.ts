import { statSync } from "node:fs";
import { join } from "node:path";

import { findArchitecture } from "../architectures/registry.ts";
import type { CausalLMConfig } from "../config/causal-lm-config.ts";
import { type ConfigOptions, type ConfigSource, configSource, readConfigSource } from "../config/config-source.ts";

export const CONFIG_FILE = "config.json";

/** Reads the configuration of a model of any architecture. */
export const AutoConfig = {
  /**
   * Reads `config.json` of a model directory, or a configuration file by its path.
   * @throws ConfigError with file, line, key, what was expected and what was found
   */
  async fromPretrained(path: string, options: ConfigOptions = {}): Promise<CausalLMConfig> {
    return parseConfig(readConfigSource(isDirectory(path) ? join(path, CONFIG_FILE) : path, options));
  },

  /** The same from an object with the keys of a config.json. */
  fromObject(settings: Readonly<Record<string, unknown>>, options: ConfigOptions = {}): CausalLMConfig {
    return parseConfig(configSource(settings, options));
  },
} as const;

function parseConfig(source: ConfigSource): CausalLMConfig {
  return findArchitecture(source).parseConfig(source);
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? !path.endsWith(".json");
}
