// `npm start`: install, build, then fine-tune the small bundled model with LoRA and show what it learned.
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { ROOT, bold, dim, green, prepare, red, runScript } from "./prepare.mjs";

const MODEL = "examples/tiny-world/model";
const TRAIN = "examples/tiny-world/train.jsonl";
const HELD_OUT = "examples/tiny-world/held-out.jsonl";
const OUTPUT = "out/tiny-world-lora";
/** Three questions that the training set does not contain; the base model has read the facts behind them. */
const SHOWN = 3;

/** Runs `fms-accel` and returns what it printed on standard output; notes and progress go to the screen with `show`. */
function fmsAccel(commandArguments, { show = false, capture = true } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(ROOT, "packages/framework/bin/fms-accel.js"), ...commandArguments], {
      cwd: ROOT,
      stdio: ["ignore", capture ? "pipe" : "inherit", show ? "inherit" : "pipe"],
    });
    let output = "";
    let notes = "";
    child.stdout?.setEncoding("utf8").on("data", (text) => (output += text));
    child.stderr?.setEncoding("utf8").on("data", (text) => (notes += text));
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve(output);
      else reject(new Error(`fms-accel ${commandArguments[0]} ended with exit code ${code}\n${notes || output}`));
    });
  });
}
