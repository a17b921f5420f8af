/** The process that is killed: trains the small model into a folder, going on from what is there. Prints a line when training begins and after each step. */
import { trainSmall, type SmallRun } from "./small-run.ts";

export function killedRun(outputDir: string, maxSteps: number): SmallRun {
  return {
    kind: "lora",
    args: { outputDir, maxSteps, saveSteps: 2, loggingSteps: 3, evalSteps: 10, saveTotalLimit: 2 },
  };
}

export default async function main(outputDir: string, maxSteps: string): Promise<void> {
  const run = killedRun(outputDir, Number(maxSteps));
  await trainSmall({
    ...run,
    args: { ...run.args, resumeFromCheckpoint: true },
    callbacks: [
      {
        onTrainBegin: ({ state }) => void process.stdout.write(`begin ${state.globalStep}\n`),
        onStepEnd: () => void process.stdout.write("step\n"),
      },
    ],
  });
  process.stdout.write("done\n");
}
