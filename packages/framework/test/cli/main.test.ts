import { ArgumentError } from "@fms-accel/trainer";
import { describe, expect, it } from "vitest";
import type { Invocation } from "../../src/cli/command-definition.ts";
import { dispatch, runCommandLine, type Program } from "../../src/cli/main.ts";
import { createTrainCommand } from "../../src/commands/train.ts";
import { readTrainArguments } from "../../src/commands/train-arguments.ts";
import { ConfigurationError, UsageError } from "../../src/errors.ts";
import { program as realProgram } from "../../src/program.ts";
import { captureTerminal } from "./captured-terminal.ts";

const trainCommand = createTrainCommand({ projectDirectory: undefined, registrations: [], problems: [] });

/** The real program's command `train`, which notes what it was called with instead of training. */
function recordingProgram(): { program: Program; calls: Invocation[] } {
  const calls: Invocation[] = [];
  const train = {
    ...trainCommand,
    run: async (invocation: Invocation) => {
      calls.push(invocation);
      return 0;
    },
  };
  const commands = realProgram.commands.map((entry) =>
    entry.name === "train" ? { ...entry, load: async () => train } : entry,
  );
  return { program: { ...realProgram, commands }, calls };
}

async function flagsOf(argv: readonly string[]): Promise<Record<string, unknown>> {
  const { program, calls } = recordingProgram();
  await dispatch(program, ["train", ...argv], captureTerminal().terminal);
  return Object.fromEntries((calls[0]?.flags ?? []).map(({ name, value }) => [name, value]));
}

async function messageOf(argv: readonly string[]): Promise<string> {
  const { program, calls } = recordingProgram();
  const { terminal, notes } = captureTerminal();
  const code = await runCommandLine(program, argv, terminal);
  expect(code).toBe(1);
  expect(calls).toEqual([]);
  return notes();
}

async function helpOf(argv: readonly string[], color = false): Promise<string> {
  const captured = captureTerminal({ color });
  expect(await runCommandLine(realProgram, argv, captured.terminal)).toBe(0);
  return captured.output();
}

describe("flags", () => {
  it("takes Hugging Face's spellings: words, lists, bare booleans, negative numbers", async () => {
    const argv = ["--learning_rate", "-1e-4", "--bf16", "--target_modules", "q_proj", "v_proj", "--lora_alpha", "-1"];
    expect(await flagsOf(argv)).toEqual({
      learning_rate: "-1e-4",
      bf16: true,
      target_modules: ["q_proj", "v_proj"],
      lora_alpha: "-1",
    });
  });

  it("takes hyphens for underscores and a value after an equals sign", async () => {
    expect(await flagsOf(["--learning-rate=2e-4", "--no-use-flash-attn"])).toEqual({
      learning_rate: "2e-4",
      no_use_flash_attn: true,
    });
  });

  it("leaves a value that looks like a flag as it is after an equals sign", async () => {
    expect(await flagsOf(["--response_template=--bf16", "--run_name=a-b"])).toEqual({
      response_template: "--bf16",
      run_name: "a-b",
    });
  });

  it("makes a list of a single word, but not of a regular expression, and lets booleans take a word", async () => {
    expect(await flagsOf(["--target_modules", "q_proj", "--bf16", "False"])).toEqual({
      target_modules: ["q_proj"],
      bf16: "False",
    });
    expect(await flagsOf(["--target_modules", ".*[qv]_proj"])).toEqual({ target_modules: ".*[qv]_proj" });
  });

  it("puts lists together", async () => {
    expect(await flagsOf(["--target_modules", "a", "--bf16", "--target_modules", "b"])).toEqual({
      target_modules: ["a", "b"],
      bf16: true,
    });
  });

  it("accepts aliases and arguments without effect", async () => {
    expect(await flagsOf(["--max_length", "12", "--dataloader_num_workers", "4"])).toEqual({
      max_length: "12",
      dataloader_num_workers: "4",
    });
  });
});

describe("errors", () => {
  it.each([
    [["trian"], 'unknown command "trian". Did you mean train?'],
    [["train", "--learning_rat", "1"], "unknown flag --learning_rat. Did you mean --learning_rate?"],
    [["train", "--learning-rat=1"], "unknown flag --learning-rat. Did you mean --learning_rate?"],
    [["train", "--epochs", "3"], "unknown flag --epochs. Did you mean --num_train_epochs?"],
    [["train", "--zzz"], "unknown flag --zzz. See `fms-accel train --help`"],
    [["--verion"], "unknown flag --verion. Did you mean --version?"],
    [["train", "--output_dir", "--bf16"], "--output_dir needs a value, but --bf16 follows"],
    [["train", "--seed"], "--seed needs a value"],
    [["train", "--r", "1", "--r=2"], "--r is given twice. Give it once."],
    [
      ["train", "--max_length", "1", "--max_seq_length", "2"],
      "--max_length and --max_seq_length set the same argument",
    ],
    [["train", "--bf16", "--bf16", "no"], "--bf16 is given twice"],
    [["train", "--run_name", "two", "words"], "train got 1 word that belongs to no flag, and takes 0."],
  ])("%j", async (argv, expected) => {
    const message = await messageOf(argv);
    expect(message).toContain(expected);
    expect(message.startsWith("error: ")).toBe(true);
    expect(message.trimEnd().split("\n")).toHaveLength(1);
  });

  it("shows a stack only with FMS_ACCEL_DEBUG=1", async () => {
    const before = process.env["FMS_ACCEL_DEBUG"];
    try {
      process.env["FMS_ACCEL_DEBUG"] = "1";
      expect(await messageOf(["train", "--zzz"])).toContain("main.ts");
    } finally {
      if (before === undefined) delete process.env["FMS_ACCEL_DEBUG"];
      else process.env["FMS_ACCEL_DEBUG"] = before;
    }
    expect(await messageOf(["train", "--zzz"])).not.toContain("main.ts");
  });

  it("marks a fault of the program as such, with its own exit code", async () => {
    const { terminal, notes } = captureTerminal();
    const faulty = {
      ...trainCommand,
      run: (): Promise<number> => {
        throw new TypeError("cannot read properties of undefined");
      },
    };
    const commands = [{ name: "train", summary: "", load: async () => faulty }];
    expect(await runCommandLine({ ...realProgram, commands }, ["train"], terminal)).toBe(203);
    expect(notes()).toContain("FMS_ACCEL_DEBUG=1");
  });
});

describe("help", () => {
  it("of the top level fits one screen and lists every command", async () => {
    const help = await helpOf(["--help"]);
    expect(help.trimEnd().split("\n").length).toBeLessThanOrEqual(32);
    for (const { name } of realProgram.commands) expect(help).toContain(`\n  ${name} `);
    expect(await helpOf([])).toBe(help);
  });

  it("of train groups every flag under a heading that says what it is about", async () => {
    const help = await helpOf(["train", "--help"]);
    for (const heading of ["Model:", "Data:", "Checkpoints:", "Optimiser and learning rate:"])
      expect(help).toContain(heading);
    expect(help).not.toContain("Further training arguments");
    expect(help).not.toContain("deepspeed");
  });

  it("is coloured only where colours are wanted", async () => {
    expect(await helpOf(["--help"], true)).toContain("\u001B[");
    expect(await helpOf(["--help"])).not.toContain("\u001B[");
  });

  it("exists for every command", async () => {
    for (const { name } of realProgram.commands) expect(await helpOf([name, "--help"])).toContain(`fms-accel ${name}`);
  });

  it("prints the version", async () => {
    expect(await helpOf(["--version"])).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe("any list of words", () => {
  const names = ["bf16", "r", "target_modules", "learning-rate", "config", "lr_scheduler_kwargs", "no_bf16", "seed"];
  const further = [
    "output_dir",
    "rank_pattern",
    "peft_method",
    "model_name_or_path",
    "training_data_path",
    "report_to",
    "__proto__",
    "löss",
  ];
  const values = [
    "q_proj",
    "-1",
    "1e-4",
    '{"a":',
    '{"a": 1}',
    "{}",
    "nan",
    "True",
    "None",
    "",
    "\u0000",
    "𝔘",
    "lora",
    "all-linear",
    "x".repeat(2000),
  ];
  const oddities = ["--", "-", "-r", "-rx", "--=", "--r=", "train", "--help=1", "constructor"];

  it("gives a run or one error about the arguments, never a crash", async () => {
    const rounds = Number(process.env["FMS_ACCEL_FUZZ"] ?? 300);
    let state = 20;
    const draw = <T>(list: readonly T[]): T => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      const drawn = list[Math.floor((state / 2 ** 32) * list.length)];
      if (drawn === undefined) throw new Error("nothing to draw from");
      return drawn;
    };
    const words = (): string[] => {
      const flag = `--${draw([...names, ...further])}`;
      return draw([
        [flag, draw(values)],
        [flag, draw(values)],
        [`${flag}=${draw(values)}`],
        [flag],
        [flag, draw(values), draw(values)],
        [draw(oddities)],
      ]);
    };
    const outcomes = { run: 0, refused: 0 };
    for (let round = 0; round < rounds; round++) {
      const argv = ["train", ...Array.from({ length: draw([1, 2, 3, 5]) }, words).flat()];
      const { program, calls } = recordingProgram();
      const { terminal } = captureTerminal();
      try {
        await dispatch(program, argv, terminal);
        for (const call of calls) readTrainArguments(call, terminal);
        outcomes.run++;
      } catch (error) {
        const expected = [UsageError, ArgumentError, ConfigurationError].some((kind) => error instanceof kind);
        expect(expected, `${JSON.stringify(argv)}: ${String(error)}`).toBe(true);
        expect((error as Error).message.length).toBeLessThan(5000);
        outcomes.refused++;
      }
    }
    expect(outcomes.refused).toBeGreaterThan(rounds / 2);
  });

  it("gives values that fit their flags", async () => {
    const { program, calls } = recordingProgram();
    const { terminal } = captureTerminal();
    const argv = [
      "train",
      "--model_name_or_path",
      "m",
      "--training_data_path",
      "d",
      "--output_dir=o",
      "--learning_rate",
      "1e-4",
    ];
    await dispatch(
      program,
      [...argv, "--lr_scheduler_kwargs", '{"num_cycles": 2}', "--use_rslora", "no", "--peft_method", "lora"],
      terminal,
    );
    const [call] = calls;
    expect(call && readTrainArguments(call, terminal)).toMatchObject({
      outputDir: "o",
      trainingDataPath: "d",
      model: { modelNameOrPath: "m" },
      peft: { useRslora: false, peftMethod: "lora" },
      training: { learningRate: 1e-4, lrSchedulerKwargs: { num_cycles: 2 } },
    });
  });
});
