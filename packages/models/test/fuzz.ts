/** Seeded mutations of JSON values and bytes. FMS_ACCEL_FUZZ=10000 asks for that many of each kind instead of a few hundred. */

export function fuzzCount(usual: number): number {
  const wanted = Number(process.env["FMS_ACCEL_FUZZ"] ?? usual);
  return Number.isSafeInteger(wanted) && wanted > 0 ? wanted : usual;
}

/** A small generator of whole numbers below a limit (mulberry32). */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }
}

const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1,
  2,
  3,
  7,
  0.5,
  -0.5,
  1e-30,
  1e9,
  2 ** 31,
  2 ** 53,
  2 ** 63,
  1e300,
  "",
  "7",
  "linear",
  "NaN",
  "\u0000",
  "..",
  [],
  [1],
  [-1, 2.5],
  ["a"],
  [null],
  {},
  { a: 1 },
  { rope_type: "linear", factor: 2 },
];

/** All places of a JSON value, as paths. */
function paths(value: unknown, prefix: readonly (string | number)[] = []): (readonly (string | number)[])[] {
  if (typeof value !== "object" || value === null) {
    return [];
  }
  const entries: (readonly [string | number, unknown])[] = Array.isArray(value)
    ? value.map((child: unknown, index) => [index, child] as const) // not the properties that a mutation gave the array
    : Object.entries(value);
  return entries.flatMap(([key, child]) => [[...prefix, key], ...paths(child, [...prefix, key])]);
}

/** A copy of a JSON object with one to three keys changed, removed, renamed or added; and the paths that were touched. */
export function mutateJson(value: unknown, chance: Chance): { value: unknown; touched: string[] } {
  const copy = structuredClone(value);
  const touched: string[] = [];
  // Copies: a later mutation may change what an earlier one put in.
  const anyValue = (): unknown => structuredClone(chance.of(VALUES));
  for (let count = 1 + chance.below(3); count > 0; count--) {
    const places = paths(copy);
    if (places.length === 0) {
      break;
    }
    const path = chance.of(places);
    const key = path.at(-1)!;
    const parent = path
      .slice(0, -1)
      .reduce<unknown>((at, step) => (at as Record<string | number, unknown>)[step], copy);
    const target = parent as Record<string | number, unknown>;
    touched.push(path.join("."));
    const before = target[key];
    switch (chance.below(6)) {
      case 0:
        delete target[key];
        break;
      case 1:
        delete target[key];
        target[`${key}${chance.of(["_", "s", "2", "\u00e9"])}`] = before;
        break;
      case 2:
        target[key] = typeof before === "number" ? before * chance.of([-1, 0, 2, 0.5, 1e6, 1 + 1e-9]) : anyValue();
        break;
      case 3:
        target[key] = typeof before === "number" ? before + chance.of([-1, 1, 0.25]) : String(before);
        break;
      case 4:
        target[chance.of(["extra", "__proto__x", "sliding_window", "rope_type", "dtype"])] = anyValue();
        break;
      default:
        target[key] = anyValue();
    }
  }
  return { value: copy, touched };
}

/** A copy of bytes with a few of them changed, cut out, doubled, or the end missing. */
export function mutateBytes(bytes: Uint8Array, chance: Chance): Uint8Array {
  let copy = Uint8Array.from(bytes);
  for (let count = 1 + chance.below(4); count > 0 && copy.length > 0; count--) {
    const at = chance.below(copy.length);
    switch (chance.below(5)) {
      case 0:
        copy[at] = chance.below(256);
        break;
      case 1:
        copy[at] = copy[at]! ^ (1 << chance.below(8));
        break;
      case 2:
        copy = copy.slice(0, at);
        break;
      case 3: {
        const end = Math.min(copy.length, at + 1 + chance.below(16));
        copy = Uint8Array.from([...copy.subarray(0, at), ...copy.subarray(end)]);
        break;
      }
      default: {
        const end = Math.min(copy.length, at + 1 + chance.below(16));
        copy = Uint8Array.from([...copy.subarray(0, end), ...copy.subarray(at)]);
      }
    }
  }
  return copy;
}
