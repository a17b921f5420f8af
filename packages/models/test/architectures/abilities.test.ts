/**
 * README's table of architectures: every cell is the outcome of doing it with the fixture's model.
 *
 * `node scripts/architecture-table.mjs` writes the table; the test compares.
 */
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { fixturePath, readJsonFixture } from "@fms-accel/test-utilities";
import { describe, expect, it } from "vitest";

import { ARCHITECTURES } from "../../src/architectures/registry.ts";
import { ABILITIES } from "./abilities.ts";
import { openModel } from "./golden.ts";

const README = fileURLToPath(new URL("../../../../README.md", import.meta.url));
const TABLE = /(<!-- architectures -->\n)[^]*?(<!-- \/architectures -->)/;

/** Fixtures of an architecture. */
const cases = new Map(
  ARCHITECTURES.map(({ name }) => [
    name,
    readdirSync(fixturePath("models")).filter((folder) =>
      readJsonFixture<{ architectures: string[] }>("models", folder, "config.json").architectures.includes(name),
    ),
  ]),
);

const outcomes = new Map<string, string>();

describe.each(ARCHITECTURES.map(({ name }) => name))("%s", (name) => {
  it.each(ABILITIES)("$title", async ({ title, attempt }) => {
    const [first] = cases.get(name)!;
    expect(first, `${name} has no fixture`).toBeDefined();
    const problem = await attempt(() => openModel(first!));
    outcomes.set(`${name} ${title}`, problem === undefined ? "yes" : "no");
    expect(problem).toBeUndefined();
  });
});

it("README says what was found", () => {
  const titles = ABILITIES.map(({ title }) => title);
  const rows = ARCHITECTURES.map(({ name, modelType }) => [
    `\`${name}\``,
    `\`${modelType}\``,
    ...titles.map((title) => outcomes.get(`${name} ${title}`) ?? "no"),
  ]);
  const lines = [["architecture", "`model_type`", ...titles], ["---", "---", ...titles.map(() => "---")], ...rows];
  const table = lines.map((cells) => `| ${cells.join(" | ")} |\n`).join("");
  const text = readFileSync(README, "utf8");
  expect(text).toMatch(TABLE);
  const fresh = text.replace(TABLE, (_, open: string, close: string) => `${open}\n${table}\n${close}`);
  if (process.env["FMS_ACCEL_WRITE_README"] === "1") {
    writeFileSync(README, fresh);
  } else {
    expect(text, "run node scripts/architecture-table.mjs").toBe(fresh);
  }
});
