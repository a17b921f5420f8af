/** The process that is killed: trains the small model into a folder, going on from what is there. Prints a line when training begins. */
import { trainSmall } from "./small-run.ts";

export const killedRun = {
  kind: "lora",
  args: { maxSteps: 60, saveSteps: 2, loggingSteps: 3, evalSteps: 10, saveTotalLimit: 2 },
} as const;

export default async function main(outputDir: string): Promise<void> {
  await trainSmall({
    ...killedRun,
    args: { ...killedRun.args, outputDir, resumeFromCheckpoint: true },
    callbacks: [{ onTrainBegin: ({ state }) => void process.stdout.write(`begin ${state.globalStep}\n`) }],
  });
  process.stdout.write("done\n");
}
