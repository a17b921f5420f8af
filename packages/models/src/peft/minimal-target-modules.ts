import { compareCodePoints } from "./python-json.ts";

/**
 * The fewest suffixes of the target names that tell them from all other module names, as PEFT condenses long lists before it
 * saves them: 30 layers of `model.layers.N.self_attn.q_proj` become `q_proj`.
 */
export function findMinimalTargetModules(targets: readonly string[], others: readonly string[]): readonly string[] {
  const otherSuffixes = new Set(others.flatMap(suffixes));
  const required = new Set<string>();
  const ordered = targets
    .map((name) => ({ name, suffixes: suffixes(name) }))
    .sort((a, b) => compareLists(a.suffixes, b.suffixes));
  for (const target of ordered) {
    for (const suffix of target.suffixes) {
      if (required.has(suffix) || otherSuffixes.has(suffix)) {
        continue;
      }
      if (![...required].some((known) => target.name.endsWith(`.${known}`))) {
        required.add(suffix);
        break;
      }
    }
  }
  return required.size === 0 ? targets : [...required];
}

/** `a.b.c` → `c`, `b.c`, `a.b.c`. */
function suffixes(name: string): readonly string[] {
  const parts = name.split(".");
  return parts.map((_, index) => parts.slice(parts.length - 1 - index).join("."));
}

function compareLists(a: readonly string[], b: readonly string[]): number {
  for (let at = 0; at < Math.min(a.length, b.length); at++) {
    const order = compareCodePoints(a[at] ?? "", b[at] ?? "");
    if (order !== 0) {
      return order;
    }
  }
  return a.length - b.length;
}
