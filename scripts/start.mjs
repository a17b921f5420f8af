// `npm start`: install, build, then fine-tune the small bundled model with LoRA and show what it learned.
import { spawn } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ROOT, bold, dim, green, prepare, runScript } from "./prepare.mjs";

const WORLD = "examples/tiny-world";
const MODEL = `${WORLD}/model`;
const OUTPUT = "out/tiny-world-lora";
/** Asked before and after. The training set contains none of them; the base model has read the facts behind them. */
const QUESTIONS = ["What is the opposite of hot?", "How much is four plus nine?", "What does the dog say?"];
const TRAINING = {
  model_name_or_path: MODEL,
  training_data_path: `${WORLD}/train.jsonl`,
  output_dir: OUTPUT,
  torch_dtype: "float32",
  peft_method: "lora",
  r: "16",
  lora_alpha: "32",
  target_modules: "all-linear",
  learning_rate: "3e-3",
  lr_scheduler_type: "cosine",
  num_train_epochs: "20",
  per_device_train_batch_size: "8",
  max_seq_length: "256",
  logging_strategy: "steps",
  logging_steps: "50",
  save_strategy: "no",
};

/** Runs `fms-accel`; what it prints goes to the screen, or is returned with `capture`. */
function fmsAccel(commandArguments, { capture = false } = {}) {
  return new Promise((resolve, reject) => {
    const program = join(ROOT, "packages/framework/bin/fms-accel.js");
    const stdio = capture ? ["ignore", "pipe", "pipe"] : "inherit";
    const child = spawn(process.execPath, [program, ...commandArguments], { cwd: ROOT, stdio });
    let output = "";
    let notes = "";
    child.stdout?.setEncoding("utf8").on("data", (text) => (output += text));
    child.stderr?.setEncoding("utf8").on("data", (text) => (notes += text));
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve(output);
      else reject(new Error(`fms-accel ${commandArguments[0]} ended with exit code ${code}\n${notes}`));
    });
  });
}

/** Answers to all held-out questions and to those that are shown, by question. */
async function ask(adapter) {
  const flags = [
    "--chat",
    "--json",
    "--max_new_tokens",
    "24",
    ...(adapter === undefined ? [] : ["--adapter", adapter]),
  ];
  const lines = await fmsAccel(["generate", MODEL, "--prompt_file", `${WORLD}/held-out.jsonl`, ...flags], {
    capture: true,
  });
  const answers = lines
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).text.trim());
  return new Map(heldOut().map(({ question }, at) => [question, answers[at]]));
}

function heldOut() {
  const lines = readFileSync(join(ROOT, WORLD, "held-out.jsonl"), "utf8")
    .trim()
    .split("\n");
  return lines.map((line) => {
    const [user, assistant] = JSON.parse(line).messages;
    return { question: user.content, answer: assistant.content };
  });
}

const oneLine = (text, width) => {
  const line = text.replaceAll(/\s+/g, " ");
  return line.length <= width ? line : `${line.slice(0, width - 1)}…`;
};

await runScript(async () => {
  const started = Date.now();
  console.log(bold("fms-accel: fine-tuning from Node.js\n"));
  await prepare();

  console.log(`\n${bold("1. The base model")} goes on with text; it has never been asked anything.`);
  const before = await ask();

  console.log(`${bold("2. LoRA fine-tuning")} on ${WORLD}/train.jsonl\n`);
  const training = Date.now();
  rmSync(join(ROOT, OUTPUT), { recursive: true, force: true });
  await fmsAccel(["train", ...Object.entries(TRAINING).flatMap(([name, value]) => [`--${name}`, value])]);
  const seconds = (Date.now() - training) / 1000;

  const after = await ask(OUTPUT);
  console.log(`\n${bold("3. Before and after")}: questions that were not in the training set\n`);
  for (const question of QUESTIONS) {
    console.log(`  ${bold(question)}`);
    console.log(`    before  ${dim(oneLine(before.get(question), 100))}`);
    console.log(`    after   ${green(oneLine(after.get(question), 100))}\n`);
  }
  const right = (answers) => heldOut().filter(({ question, answer }) => answers.get(question) === answer).length;
  const all = heldOut().length;
  console.log(`  right answers to all ${all} held-out questions: ${right(before)} before, ${right(after)} after`);
  console.log(
    dim(`  training took ${seconds.toFixed(0)} s, everything ${((Date.now() - started) / 1000).toFixed(0)} s\n`),
  );

  console.log(bold("Your own model and data"));
  console.log(
    "  npx fms-accel train --model_name_or_path ./SmolLM-135M --training_data_path data.jsonl --output_dir out \\",
  );
  console.log(
    "    --peft_method lora --r 16 --target_modules all-linear --learning_rate 2e-4 --num_train_epochs 1 --bf16",
  );
  console.log('  npx fms-accel generate ./SmolLM-135M --adapter out --prompt "Summarise: …"');
  console.log(`\n  Talk to the model that was just trained:  npx fms-accel generate ${MODEL} --adapter ${OUTPUT}`);
});
