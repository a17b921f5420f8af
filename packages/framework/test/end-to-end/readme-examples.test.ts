/** The programs in the READMEs do what they say: each is run as it is printed, with a small model and data in the places that it names. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { repositoryPath } from "../sample-configurations/repository.ts";
import { trainingData, trainTinyBase } from "./tiny-run.ts";

const folder = mkdtempSync(join(tmpdir(), "fms-accel-readme-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

beforeAll(async () => {
  const base = await trainTinyBase(folder);
  symlinkSync(base, join(folder, "SmolLM-135M"), "dir");
  const lines = readFileSync(trainingData, "utf8").split("\n").slice(0, 8);
  writeFileSync(join(folder, "data.jsonl"), `${lines.join("\n")}\n`);
}, 120_000);

/** The blocks of a README in a language. */
function blocks(readme: string, language: string): string[] {
  const text = readFileSync(repositoryPath(readme), "utf8");
  return [...text.matchAll(new RegExp("^```" + language + "\\n([\\s\\S]*?)^```", "gm"))].map(([, body]) => body ?? "");
}

/** Runs a program as if it stood in a project that has every package; the places that it names are those of the test. */
function runProgram(source: string): string {
  const placed = source
    .replaceAll('"./SmolLM-135M"', JSON.stringify(join(folder, "SmolLM-135M")))
    .replaceAll('"data.jsonl"', JSON.stringify(join(folder, "data.jsonl")))
    .replaceAll('"out"', JSON.stringify(join(folder, "out")));
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module"], {
    cwd: repositoryPath("packages", "framework"),
    input: placed,
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1" },
  });
  expect(status, stderr).toBe(0);
  return stdout;
}

it.each([
  ["packages/tensor/README.md", /^\[ *(20\.9|21(?:\.0)?)\d* *\]/],
  ["packages/models/README.md", /\S/],
  ["packages/trainer/README.md", /^1 \d+\.\d+[\s\S]*^20 \d+\.\d+/m],
  [
    "packages/framework/README.md",
    /Active Plugin: FastNormPlugin\. Package: mine\.[\s\S]*Rule: fast-norm .*Module: norm .*Num: +1/,
  ],
  ["README.md", /^$/],
])(
  "the program of %s",
  (readme, printed) => {
    const programs = blocks(readme, "ts");
    expect(programs).toHaveLength(1);
    for (const program of programs) expect(runProgram(program)).toMatch(printed);
  },
  120_000,
);
