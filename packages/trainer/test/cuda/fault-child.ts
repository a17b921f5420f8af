/** The process whose device fails: trains the small model on it into a folder, and lives on to tell what went wrong. */
import { setDefaultDevice, workStats } from "@fms-accel/tensor";
import { trainSmall, type SmallRun } from "../training/small-run.ts";

function faultyRun(outputDir: string, resumeFromCheckpoint: boolean): SmallRun {
  return {
    kind: "lora",
    args: { outputDir, maxSteps: 4, saveSteps: 1, evalSteps: 10, saveTotalLimit: 2, resumeFromCheckpoint },
  };
}

export default async function main(outputDir: string): Promise<void> {
  setDefaultDevice("cuda");
  const run = faultyRun(outputDir, true);
  const callbacks = [{ onStepEnd: () => void process.stdout.write(`step, ${workStats("cuda").launches} launches\n`) }];
  try {
    await trainSmall({ ...run, callbacks });
    process.stdout.write("done\n");
  } catch (error) {
    process.stdout.write(`${(error as Error).constructor.name}: ${(error as Error).message}\nalive\n`);
  }
}
