import { Module } from "@fms-accel/tensor";

import { AdapterError } from "./errors.ts";

/** The adapter's name when the caller gives none; its files are saved to the top of the directory. */
export const DEFAULT_ADAPTER = "default";

/**
 * Modules by adapter name, each a field of that name, so that parameters are named as in PEFT: `lora_A.default.weight`.
 */
export class AdapterModules<T extends Module> extends Module {
  get(adapter: string): T | undefined {
    return Object.hasOwn(this, adapter) ? this.#fields()[adapter] : undefined;
  }

  set(adapter: string, module: T): void {
    this.#fields()[adapter] = module;
  }

  delete(adapter: string): void {
    delete this.#fields()[adapter];
  }

  #fields(): Record<string, T | undefined> {
    return this as unknown as Record<string, T | undefined>;
  }
}

/** @throws AdapterError for a name that cannot be a field of `AdapterModules` or a directory */
export function checkAdapterName(name: string): void {
  if (!/^[A-Za-z0-9_-]+$/.test(name) || name in AdapterModules.prototype || name === "training") {
    throw new AdapterError(
      `adapter name ${JSON.stringify(name)}: expected letters, digits, "_" and "-", and none of the names of a module's own ` +
        "methods.",
    );
  }
}
