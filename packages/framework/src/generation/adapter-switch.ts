import { PeftModel, type CausalLM } from "@fms-accel/models";

/** The adapters of a loaded model, to choose from between two answers. */
export class AdapterSwitch {
  readonly #model: PeftModel;
  readonly #folders: readonly string[];

  constructor(model: PeftModel, folders: readonly string[]) {
    this.#model = model;
    this.#folders = folders;
  }

  /** One line an adapter, with its number; an asterisk marks those in use. */
  get lines(): readonly string[] {
    const active = this.#model.activeAdapters;
    return this.#folders.map((folder, index) => {
      const inUse = active.includes(this.#model.adapterNames[index] ?? "");
      return `${inUse ? "*" : " "} ${index + 1}  ${folder}`;
    });
  }

  /**
   * Uses the adapters that a text names: numbers, `all` or `none`.
   * @returns whether it could be read; nothing is changed where not
   */
  use(words: string): boolean {
    const names = this.#model.adapterNames.slice(0, this.#folders.length);
    const numbers = words.split(/\s+/).map(Number);
    const isList = numbers.every((number) => Number.isInteger(number) && number >= 1 && number <= names.length);
    if (words === "all") this.#model.setAdapter(names);
    else if (words === "none") this.#model.setAdapter([]);
    else if (isList) this.#model.setAdapter([...new Set(numbers)].map((number) => names[number - 1] ?? ""));
    else return false;
    return true;
  }
}

/** A switch where there is something to choose from. */
export function adapterSwitch(model: CausalLM, folders: readonly string[]): AdapterSwitch | undefined {
  return model instanceof PeftModel ? new AdapterSwitch(model, folders) : undefined;
}
