import type { ActivationPaths } from "./acceleration-plugin.ts";

/**
 * The paths of a plugin that count in a configuration: those of `allOf` if all of them are present, and every one of `anyOf` that is. The
 * plugin is active when there is one.
 */
export function activePaths(
  { allOf = [], anyOf = [] }: ActivationPaths,
  isPresent: (path: string) => boolean,
): readonly string[] {
  return [...(allOf.every(isPresent) ? allOf : []), ...anyOf.filter(isPresent)];
}
