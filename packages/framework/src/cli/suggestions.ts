import { distance } from "fastest-levenshtein";

/** `lora-alfa`, `LoraAlpha` and `lora_alpha` are the same attempt at a name. */
function folded(name: string): string {
  return name.replaceAll("-", "_").toLowerCase();
}

/**
 * The known names nearest to a mistyped one, best first: at most three, none farther than a third of its letters (at least 2), and none that
 * shares no letter.
 * A name that the attempt begins, or that begins with it, counts as near too: `--epochs` finds `num_train_epochs`.
 */
export function nearestNames(attempt: string, known: readonly string[]): string[] {
  const wanted = folded(attempt);
  const limit = Math.max(2, Math.floor(wanted.length / 3));
  return known
    .map((name) => {
      const candidate = folded(name);
      const steps = distance(wanted, candidate);
      const contained = wanted.length >= 4 && candidate.split("_").includes(wanted);
      const isOther = steps >= Math.max(wanted.length, candidate.length);
      return { name, steps: contained ? Math.min(steps, limit) : isOther ? Infinity : steps };
    })
    .filter(({ steps }) => steps <= limit)
    .sort((a, b) => a.steps - b.steps || a.name.localeCompare(b.name))
    .slice(0, 3)
    .map(({ name }) => name);
}

/** ` Did you mean --learning_rate?`, or an empty text when nothing is near. */
export function didYouMean(
  attempt: string,
  known: readonly string[],
  written: (name: string) => string = (name) => name,
): string {
  const names = nearestNames(attempt, known).map((name) => written(name));
  const last = names.pop();
  if (last === undefined) return "";
  return ` Did you mean ${names.length === 0 ? last : `${names.join(", ")} or ${last}`}?`;
}
