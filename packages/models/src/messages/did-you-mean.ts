/** Number of names that a message lists before it says how many more there are. */
const LISTED = 12;

/**
 * The candidates that are likely meant by `name`, nearest first: those within a third of its length in edits
 * (insertion, deletion, substitution, swap of neighbours), or that contain it or are contained in it.
 */
export function closestNames(name: string, candidates: Iterable<string>, limit = 3): readonly string[] {
  const wanted = name.toLowerCase();
  const scored: { candidate: string; distance: number }[] = [];
  for (const candidate of new Set(candidates)) {
    const other = candidate.toLowerCase();
    const distance = editDistance(wanted, other);
    const contained = Math.min(wanted.length, other.length) >= 3 && (other.includes(wanted) || wanted.includes(other));
    if (contained || distance <= Math.max(1, Math.floor(wanted.length / 3))) {
      scored.push({ candidate, distance });
    }
  }
  scored.sort((a, b) => a.distance - b.distance || (a.candidate < b.candidate ? -1 : 1));
  // A name that differs in case alone leaves no doubt.
  return scored.slice(0, scored[0]?.distance === 0 ? 1 : limit).map((entry) => entry.candidate);
}

/** `" Did you mean "a" or "b"?"` with a leading space, or an empty string when nothing is near. */
export function didYouMean(name: string, candidates: Iterable<string>): string {
  const names = closestNames(name, candidates).map((near) => `"${near}"`);
  return names.length === 0 ? "" : ` Did you mean ${names.join(" or ")}?`;
}

/** Names for a message: the first few, then how many more there are. */
export function listNames(names: readonly string[], listed: number = LISTED): string {
  const shown = names.slice(0, listed).join(", ");
  return names.length > listed ? `${shown} and ${names.length - listed} more` : shown;
}

/** Optimal string alignment distance (Damerau-Levenshtein without repeated edits of one substring). */
function editDistance(a: string, b: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min((previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1, (previous[j - 1] ?? 0) + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, (beforePrevious[j - 2] ?? 0) + 1);
      }
      current.push(best);
    }
    beforePrevious = previous;
    previous = current;
  }
  return previous[b.length] ?? 0;
}
