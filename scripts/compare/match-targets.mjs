// Answers which modules LoRA configurations target, and with which ranks: reads {names: {model: [...]}, cases: [{model, config}], lists}
// from the file INPUT, writes {matched: [{matches, ranks}], minimal, defaults: {model type: targets or null}} to standard output.
//
//   node scripts/compare/match-targets.mjs INPUT
//
// Used by compare_targets.py. Needs a build (npm run build).
import { readFileSync } from "node:fs";

import { ARCHITECTURES } from "../../packages/models/dist/architectures/registry.js";
import {
  defaultTargetModules,
  hasDefaultTargetModules,
} from "../../packages/models/dist/peft/default-target-modules.js";
import { LoraConfig } from "../../packages/models/dist/peft/lora-config.js";
import { findMinimalTargetModules } from "../../packages/models/dist/peft/minimal-target-modules.js";
import { compilePatterns, compileTargets } from "../../packages/models/dist/peft/target-matching.js";

const { names, cases, lists } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const matched = cases.map(({ model, config: fields }) => {
  const config = LoraConfig.parse(JSON.stringify({ peft_type: "LORA", ...fields }));
  const match = compileTargets(config);
  const ranks = compilePatterns(config.rankPattern, "rank_pattern");
  return { matches: names[model].map(match), ranks: names[model].map((name) => ranks.find(name) ?? config.r) };
});
const minimal = lists.map(({ targets, others }) => [...findMinimalTargetModules(targets, others)].sort());
const defaults = Object.fromEntries(
  ARCHITECTURES.map(({ modelType }) => [
    modelType,
    hasDefaultTargetModules(modelType) ? defaultTargetModules(modelType) : null,
  ]),
);
process.stdout.write(JSON.stringify({ matched, minimal, defaults }));
