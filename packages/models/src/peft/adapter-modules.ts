import { Module, type Parameter } from "@fms-accel/tensor";

import { AdapterError } from "./errors.ts";

/** What a module has for each adapter: a field of the adapter's name. */
abstract class AdapterFields<T extends Module | Parameter> extends Module {
  get(adapter: string): T | undefined {
    return Object.hasOwn(this, adapter) ? this.#fields()[adapter] : undefined;
  }

  set(adapter: string, value: T): void {
    this.#fields()[adapter] = value;
  }

  delete(adapter: string): void {
    delete this.#fields()[adapter];
  }

  #fields(): Record<string, T | undefined> {
    return this as unknown as Record<string, T | undefined>;
  }
}

/** Modules by adapter name, so that parameters are named as in PEFT: `lora_A.default.weight`. */
export class AdapterModules<T extends Module> extends AdapterFields<T> {}

/** Parameters by adapter name: `lora_embedding_A.default`. */
export class AdapterParameters extends AdapterFields<Parameter> {}

/** @throws AdapterError for a name that cannot be a field of an adapter's modules or a directory */
export function checkAdapterName(name: string): void {
  if (!/^[A-Za-z0-9_-]+$/.test(name) || name in AdapterModules.prototype || name === "training") {
    throw new AdapterError(
      `adapter name ${JSON.stringify(name)}: expected letters, digits, "_" and "-", and none of the names of a module's own ` +
        "methods.",
    );
  }
}
