import type { Module } from "@fms-accel/tensor";
import type { ModulePlace } from "./callable-module.ts";

/** A module and all below it, parents first, each once, with where it stands in the model. */
export function* modulePlaces(
  module: Module,
  place: ModulePlace = { path: "", name: "", parent: undefined, parentPath: "" },
  seen: Set<Module> = new Set(),
): Generator<[Module, ModulePlace]> {
  if (seen.has(module)) return;
  seen.add(module);
  yield [module, place];
  for (const [childName, child] of module.namedChildren()) {
    const path = place.path === "" ? childName : `${place.path}.${childName}`;
    // An element of a list has the name "layers.0".
    const name = childName.replace(/\.\d+$/, "");
    yield* modulePlaces(child, { path, name, parent: module, parentPath: place.path }, seen);
  }
}
