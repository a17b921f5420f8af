import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  ArgumentError,
  argumentNames,
  argumentTables,
  camelCase,
  describeIgnoredArguments,
  inertArgumentTable,
  parseArguments,
  resolveTrainingArguments,
  snakeCase,
  type ArgumentDefinition,
  type ParsedArguments,
} from "../../src/index.ts";

interface Field {
  name: string;
  type: string;
  default?: unknown;
  default_repr?: string;
}

const golden = JSON.parse(
  readFileSync(
    new URL("../../../../packages-private/fixtures/framework/sft_trainer_arguments.json", import.meta.url),
    "utf8",
  ),
) as {
  dataclasses: Record<string, Field[]>;
  transformers_TrainingArguments: Field[];
  command_line: { flags: string[] }[];
};

/** Flags of the acceleration plugins; the framework knows them. */
const pluginFlags = new Set([
  "auto_gptq",
  "bnb_qlora",
  "fused_lora",
  "fast_kernels",
  "padding_free",
  "multipack",
  "fast_moe",
]);

function flags(...words: [string, unknown][]): ParsedArguments {
  return parseArguments([
    { name: "output_dir", value: "out", where: "--output_dir" },
    ...words.map(([name, value]) => ({ name, value, where: `--${name}` })),
  ]);
}

describe("names and defaults", () => {
  it("knows every flag of fms-hf-tuning's sft_trainer", () => {
    const known = new Set(argumentNames());
    const names = golden.command_line
      .map(({ flags: [first] }) => (first ?? "").slice(2))
      .filter((name) => !pluginFlags.has(name));
    expect(names.length).toBeGreaterThan(200);
    // `--no_x` complements are not arguments of their own.
    expect(names.filter((name) => !known.has(name) && !(name.startsWith("no_") && known.has(name.slice(3))))).toEqual(
      [],
    );
  });

  it("has fms-hf-tuning's defaults, and marks where Hugging Face's differ", () => {
    const ours = new Map<string, Pick<ArgumentDefinition, "default" | "huggingFaceDefault">>(
      [...Object.values(argumentTables).flat(), ...inertArgumentTable].map((row) => [row.name, row]),
    );
    const overridden = new Map(
      golden.dataclasses["TrainingArguments_overrides"]?.map((field) => [field.name, field.default]),
    );
    const groups = [
      "ModelArguments",
      "DataArguments",
      "TrainingArguments_overrides",
      "LoraConfig",
      "PromptTuningConfig",
      "TrackerConfigs",
    ];
    let compared = 0;
    for (const field of groups.flatMap((group) => golden.dataclasses[group] ?? [])) {
      if (field.default_repr !== undefined || field.name === "runtime_config") continue;
      expect([field.name, ours.get(field.name)?.default]).toEqual([field.name, field.default]);
      compared++;
    }
    for (const field of golden.transformers_TrainingArguments) {
      if (overridden.has(field.name) || field.name === "_n_gpu") continue;
      const row = ours.get(field.name);
      const own = row !== undefined && "huggingFaceDefault" in row ? row.huggingFaceDefault : row?.default;
      // `""` and null both say "nothing" for --debug.
      expect([field.name, own ?? ""]).toEqual([field.name, field.default ?? ""]);
      compared++;
    }
    expect(compared).toBeGreaterThan(150);
    expect(parseArguments([{ name: "output_dir", value: "o", where: "x" }]).model.torchDtype).toBe("bfloat16");
  });

  it("maps every name to camelCase and back", () => {
    for (const name of argumentNames()) expect(snakeCase(camelCase(name))).toBe(name);
  });

  it("has no name twice", () => {
    const names = argumentNames();
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  });
});

describe("values", () => {
  it("reads numbers as Python writes them", () => {
    expect(flags(["learning_rate", "2e-4"]).training.learningRate).toBe(2e-4);
    expect(flags(["learning_rate", ".5"]).training.learningRate).toBe(0.5);
    expect(flags(["max_steps", "-1"]).training.maxSteps).toBe(-1);
    expect(flags(["max_steps", 7]).training.maxSteps).toBe(7);
  });

  it.each([
    ["learning_rate", "fast", '--learning_rate: expected a number such as 8, 0.1 or 2e-4, found "fast".'],
    ["learning_rate", "", "--learning_rate: expected a number"],
    ["learning_rate", "0x10", "--learning_rate: expected a number"],
    ["learning_rate", true, "found nothing after the flag"],
    ["max_steps", "1.5", '--max_steps: expected a whole number, found "1.5".'],
    ["max_steps", "", "--max_steps: expected a whole number"],
    ["gradient_accumulation_steps", "0", "--gradient_accumulation_steps: expected at least 1, found 0."],
    ["num_train_epochs", "0", "--num_train_epochs: expected more than 0, found 0."],
    ["adam_beta1", "1.5", "--adam_beta1: expected at most 1, found 1.5."],
    ["bf16", "maybe", '--bf16: expected yes/no, true/false, t/f, y/n or 1/0, found "maybe".'],
    ["lr_scheduler_type", "cosin", "--lr_scheduler_type: expected one of linear, cosine"],
    ["lr_scheduler_kwargs", "{num_cycles: 2}", "--lr_scheduler_kwargs: expected a JSON object"],
    ["lr_scheduler_kwargs", "[1]", "--lr_scheduler_kwargs: expected a JSON object"],
    ["seed", ["1", "2"], "--seed: expected one value, found 2"],
    ["learning_rat", "1", "--learning_rat: no such argument. Did you mean learning_rate?"],
    ["zzzzzzzzzz", "1", "--zzzzzzzzzz: no such argument."],
    ["adafactor", "True", "--adafactor: not supported: the optimiser is AdamW."],
    ["warmup_steps", "2.5", "warmup_steps: expected a whole number of steps"],
  ])("refuses --%s %j", (name, value, message) => {
    expect(() => flags([name, value])).toThrow(ArgumentError);
    expect(() => flags([name, value])).toThrow(message);
  });

  it("reads truth values in Hugging Face's forms", () => {
    for (const yes of [true, "True", "yes", "t", "Y", "1"]) expect(flags(["bf16", yes]).training.bf16).toBe(true);
    for (const no of [false, "False", "no", "f", "N", "0"]) expect(flags(["bf16", no]).training.bf16).toBe(false);
    expect(flags(["no_average_tokens_across_devices", true]).training.averageTokensAcrossDevices).toBe(false);
    expect(() => flags(["no_bf16", true])).toThrow("no such argument");
  });

  it("reads lists, and all-linear as a word", () => {
    expect(flags(["target_modules", ["q_proj", "v_proj"]]).peft.targetModules).toEqual(["q_proj", "v_proj"]);
    expect(flags(["target_modules", ["q_proj"]]).peft.targetModules).toEqual(["q_proj"]);
    expect(flags(["target_modules", ["all-linear"]]).peft.targetModules).toBe("all-linear");
    expect(flags(["target_modules", ".*proj"]).peft.targetModules).toBe(".*proj");
    expect(flags(["layers_to_transform", ["0", "2"]]).peft.layersToTransform).toEqual([0, 2]);
    expect(flags(["lora_alpha", "-1"]).peft.loraAlpha).toBe(-1);
  });

  it("reads objects from text and from YAML", () => {
    expect(flags(["lr_scheduler_kwargs", '{"num_cycles": 2}']).training.lrSchedulerKwargs).toEqual({ num_cycles: 2 });
    expect(flags(["rank_pattern", { q_proj: 4 }]).peft.rankPattern).toEqual({ q_proj: 4 });
  });

  it("reads resume_from_checkpoint as a truth value or a folder", () => {
    expect(flags(["resume_from_checkpoint", true]).training.resumeFromCheckpoint).toBe(true);
    expect(flags(["resume_from_checkpoint", "true"]).training.resumeFromCheckpoint).toBe(true);
    expect(flags(["resume_from_checkpoint", "false"]).training.resumeFromCheckpoint).toBe(false);
    expect(flags(["resume_from_checkpoint", "out/checkpoint-3"]).training.resumeFromCheckpoint).toBe(
      "out/checkpoint-3",
    );
  });

  it("takes null, and None where nothing is the default, as not set", () => {
    expect(flags(["eval_steps", null], ["learning_rate", null], ["data_seed", "None"]).training).toMatchObject({
      evalSteps: null,
      learningRate: 5e-5,
      dataSeed: null,
      evalStrategy: "no",
    });
  });

  it("lets the later of two sources win", () => {
    expect(flags(["seed", 1], ["seed", "2"]).training.seed).toBe(2);
  });

  it("knows aliases", () => {
    expect(flags(["max_length", "64"], ["evaluation_strategy", "epoch"], ["dtype", "float32"])).toMatchObject({
      training: { maxSeqLength: 64, evalStrategy: "epoch" },
      model: { torchDtype: "float32" },
    });
  });
});

describe("arguments without effect", () => {
  it("are counted in one line with their reasons", () => {
    const { ignored } = flags(["ddp_backend", "nccl"], ["torch_compile", "True"], ["use_cpu", "False"]);
    expect(ignored.map(({ name }) => name)).toEqual(["ddp_backend", "torch_compile"]);
    expect(describeIgnoredArguments(ignored)).toBe(
      "2 arguments have no effect: ddp_backend ignored because there is no torch process group here; ranks come from the communicator; " +
        "torch_compile ignored because there is no graph compiler here; kernels are compiled ahead.",
    );
    expect(describeIgnoredArguments([])).toBeUndefined();
  });

  it("are still read, so that a mistake is seen", () => {
    expect(() => flags(["torch_compile", "perhaps"])).toThrow("--torch_compile: expected yes/no");
  });

  it("say nothing when they ask for nothing", () => {
    expect(flags(["report_to", "none"], ["no_use_flash_attn", "no"], ["dataloader_num_workers", "0"]).ignored).toEqual(
      [],
    );
    expect(flags(["no_use_flash_attn", true]).ignored).toHaveLength(1);
  });
});

describe("arguments that depend on each other", () => {
  it("takes steps as a wish for the strategy, and says so", () => {
    const { training, notes } = flags(["logging_steps", "5"], ["save_steps", "10"], ["eval_steps", "10"]);
    expect(training).toMatchObject({ loggingStrategy: "steps", saveStrategy: "steps", evalStrategy: "steps" });
    expect(notes).toHaveLength(3);
    expect(flags(["logging_steps", "5"], ["logging_strategy", "no"]).training.loggingStrategy).toBe("no");
  });

  it("evaluates every logging_steps when eval_steps is not given", () => {
    expect(flags(["eval_strategy", "steps"], ["logging_steps", "7"]).training.evalSteps).toBe(7);
  });

  it.each<[string, [string, unknown][], string]>([
    [
      "bf16 and fp16",
      [
        ["bf16", true],
        ["fp16", true],
      ],
      "bf16 and fp16 exclude each other",
    ],
    [
      "two orders",
      [
        ["group_by_length", true],
        ["train_sampling_strategy", "sequential"],
      ],
      "group_by_length contradicts",
    ],
    ["best without evaluation", [["load_best_model_at_end", true]], "load_best_model_at_end needs evaluations"],
    [
      "best at other steps",
      [
        ["load_best_model_at_end", true],
        ["eval_steps", 5],
        ["save_strategy", "epoch"],
      ],
      "save_strategy is epoch and eval_strategy steps",
    ],
    [
      "best at too many steps",
      [
        ["load_best_model_at_end", true],
        ["eval_steps", 4],
        ["save_steps", 6],
      ],
      "found 6 and 4",
    ],
    ["a tracker that is not there", [["trackers", ["aim"]]], "trackers: aim is not built in"],
  ])("refuses %s", (_, words, message) => {
    expect(() => flags(...words)).toThrow(message);
  });

  it("needs a folder to save into", () => {
    expect(() => resolveTrainingArguments({ learningRate: 1 })).toThrow("output_dir: not set");
    expect(resolveTrainingArguments({ saveStrategy: "no" }).training.outputDir).toBeNull();
  });

  it("chooses the direction of the best metric by its name", () => {
    const best = { outputDir: "o", loadBestModelAtEnd: true, evalStrategy: "epoch" } as const;
    expect(resolveTrainingArguments(best).training).toMatchObject({
      metricForBestModel: "loss",
      greaterIsBetter: false,
    });
    expect(resolveTrainingArguments({ ...best, metricForBestModel: "accuracy" }).training.greaterIsBetter).toBe(true);
  });
});

describe("arguments in a program", () => {
  it("are checked by name and value", () => {
    const misspelt = { outputDir: "o", learningrate: 1 };
    expect(() => resolveTrainingArguments(misspelt)).toThrow(
      "learningrate: no such training argument. Did you mean learningRate?",
    );
    expect(() => resolveTrainingArguments({ outputDir: "o", maxSteps: 1.5 })).toThrow(
      "maxSteps: expected a whole number, found 1.5.",
    );
    expect(resolveTrainingArguments({ outputDir: "o", bf16: undefined }).training.bf16).toBe(false);
  });
});
