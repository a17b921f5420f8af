/**
 * The defects and traps of fms-acceleration that are not to be here, by damage, each with the tests that show it gone. Those of plugins that
 * are not written yet are listed with their plugin, so that it does not come without such tests.
 */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { pluginCatalogue } from "../src/index.ts";

const packages = fileURLToPath(new URL("../../", import.meta.url));

/** Test file below packages/, and words of a test's title there. */
type Shown = readonly (readonly [file: string, title: string])[];

const gone: Readonly<Record<string, Shown>> = {
  "1 settings of a plugin with two sections are lost": [
    ["framework/test/reference-errors.test.ts", "defect: of a plugin with two sections both arrive, as they are"],
  ],
  "1 everything off means everything on": [
    ["framework/test/reference-errors.test.ts", "defect: of a plugin with two sections both arrive, as they are"],
  ],
  "1 a misspelt key is passed over": [
    [
      "framework/test/plugins/activation.test.ts",
      "defect: a misspelt key in the original's own files is an error here",
    ],
  ],
  "1 unknown keys and arguments are passed over": [
    ["framework/test/configuration/configuration.test.ts", "one error with line and column for"],
    ["framework/test/cli/main.test.ts", "unknown flag --learning_rat. Did you mean --learning_rate?"],
  ],
  "1 padding_free loses which tokens of a raw text are answers": [
    [
      "attention-and-distributed-packing/test/padding-free/training.test.ts",
      "raw texts, of which only the answers are trained",
    ],
  ],
  "2 sequences of a packed row are rotated as one": [
    [
      "models/test/architectures/sequence-identity.test.ts",
      "takes position ids: they move learned positions and rotations",
    ],
    [
      "attention-and-distributed-packing/test/padding-free/equality.test.ts",
      "packed = padding-free = padded = one by one, accumulated or not",
    ],
  ],
  "3 multipack drops samples above a capacity made of the mean length": [
    [
      "attention-and-distributed-packing/test/data/multipack-training.test.ts",
      "refuses long samples unless it was told what to do with them",
    ],
  ],
  "3 multipack drops the trailing group": [
    [
      "attention-and-distributed-packing/test/packing/multipack-sampler.test.ts",
      "keeps the samples that do not fill the last step, and spreads them over the ranks",
    ],
  ],
  "3 best-fit packing cuts tokens off without a word": [
    ["attention-and-distributed-packing/test/packing/best-fit.test.ts", "never more rows, and the same tokens cut off"],
  ],
  "4 names in combined triggers never match": [
    ["framework/test/patching/model-patcher.test.ts", "names in combined triggers are passed on"],
  ],
  "5 lists, rules and history belong to classes": [
    ["framework/test/acceleration-framework.test.ts", "no global state: two frameworks at work side by side"],
    ["framework/test/patching/model-patcher.test.ts", "no state is shared: two patchers have their own rules"],
  ],
  "5 arguments remember their position from one parse to the next": [
    ["framework/test/configuration/options.test.ts", "defect: nothing is remembered from one parse to the next"],
  ],
  "6 versions are compared as text": [
    ["framework/test/plugins/discover-plugins.test.ts", "versions are compared as numbers, not as text"],
  ],
  "a scalar in the middle of a path ends in a TypeError": [
    [
      "framework/test/acceleration-framework.test.ts",
      "a scalar where a mapping is expected is an error with its place",
    ],
  ],
  "later builders are dropped without a word": [
    ["framework/test/patching/model-patcher.test.ts", "a builder that comes too late is reported like a forward"],
  ],
  "modules are reported by the first part of their name": [
    ["framework/test/patching/model-patcher.test.ts", "modules of any depth are reported by their own name"],
  ],
  "install falls back to a repository that is right for two plugins only": [
    ["framework/test/commands/install.test.ts", "ends as the package manager ends, and falls back to nothing"],
  ],
  "a second name of arguments is taken as the file of scenarios": [
    [
      "framework/test/commands/messages.test.ts",
      "takes several names; the original reads the second as a scenario file",
    ],
  ],
};

/** By the short name of the plugin that is to show it. */
const awaited: Readonly<Record<string, string>> = {
  "1 fused LoRA is lost beside fast kernels": "foak",
  "2 rotary embeddings without position_ids": "foak",
  "2 fused linear cross-entropy without num_items_in_batch and logits scaling": "foak",
  "2 fast RMSNorm trains no weight": "foak",
  "4 rotary embeddings of GraniteMoeShared and Hybrid, cross-entropy of GPTBigCode and GraniteMoe": "foak",
  "4 LoRA in experts": "moe",
  "5 AutoModel stays patched": "peft",
};

test.each(Object.entries(gone))("%s: shown by tests that are there", (_, shown) => {
  for (const [file, title] of shown) expect(readFileSync(`${packages}${file}`, "utf8")).toContain(title);
});

test.each(Object.entries(awaited))("%s: waits for the plugin %s", (_, shortname) => {
  const { packageName } = pluginCatalogue.find((entry) => entry.shortname === shortname)!;
  const folder = packageName.replace("@fms-accel/", packages);
  expect(existsSync(`${folder}/package.json`), `${packageName} is there: show its defects gone`).toBe(false);
});
