import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readPrompts } from "../../src/generation/prompts.ts";
import { UsageError } from "../../src/errors.ts";
import { captureTerminal } from "../cli/captured-terminal.ts";

const folder = mkdtempSync(join(tmpdir(), "fms-accel-prompts-"));
afterAll(() => rmSync(folder, { recursive: true }));

function fileWith(name: string, text: string): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}

const { terminal } = captureTerminal({ input: "from standard input\n" });

describe("readPrompts", () => {
  it("takes flags, then the file", async () => {
    const file = fileWith("one.txt", "two\nlines\n");
    expect(await readPrompts({ prompts: ["a", "b"], file }, terminal)).toEqual([
      { kind: "text", text: "a" },
      { kind: "text", text: "b" },
      { kind: "text", text: "two\nlines" },
    ]);
  });

  it("takes texts, prompts and conversations of a jsonl file, and leaves out the answer of a training example", async () => {
    const user = { role: "user", content: "q" };
    const lines = [
      "a",
      { prompt: "b" },
      { messages: [user] },
      { messages: [user, { role: "assistant", content: "x" }] },
    ];
    const file = fileWith("many.jsonl", `${lines.map((line) => JSON.stringify(line)).join("\n\n")}\n`);
    expect(await readPrompts({ prompts: null, file }, terminal)).toEqual([
      { kind: "text", text: "a" },
      { kind: "text", text: "b" },
      { kind: "chat", messages: [user] },
      { kind: "chat", messages: [user] },
    ]);
  });

  it("takes standard input when nothing else is given", async () => {
    expect(await readPrompts({ prompts: null, file: null }, terminal)).toEqual([
      { kind: "text", text: "from standard input" },
    ]);
    await expect(readPrompts({ prompts: null, file: null }, captureTerminal().terminal)).rejects.toThrow(UsageError);
  });

  it.each([
    ['{"prompt": 3}\n', "bad.jsonl:1: expected a text"],
    ['"a"\n{"messages": [{"role": "user"}]}\n', "bad.jsonl:2: expected a text"],
    ['"a"\n\n{"prompt"\n', "bad.jsonl:3: not JSON"],
    ["\n", "has no line"],
  ])("refuses %j", async (text, message) => {
    await expect(readPrompts({ prompts: null, file: fileWith("bad.jsonl", text) }, terminal)).rejects.toThrow(message);
  });

  it("names a file that cannot be read", async () => {
    await expect(readPrompts({ prompts: null, file: join(folder, "none") }, terminal)).rejects.toThrow(
      /none.*no such file/,
    );
  });
});
