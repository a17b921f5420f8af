import { fork, type ChildProcess } from "node:child_process";
import {
  reduceValues,
  readBuffer,
  writeBuffer,
  type MeetingRank,
  type RankBuffer,
  type Reduction,
} from "./rank-buffers.ts";
import { sourceRunner } from "./source-runner.ts";

interface Request {
  readonly operation: Reduction;
  readonly values: Float64Array;
}

/** How ranks in processes of their own ended. */
export interface RankProcesses {
  /** Of each rank; null for one that was killed. */
  readonly codes: readonly (number | null)[];
  /** What each printed. */
  readonly outputs: readonly string[];
  readonly errors: string;
}

/**
 * Runs a TypeScript file in as many processes as there are ranks; its default export is called with the rank, the number of ranks and the words.
 * The processes meet in this one, which combines what they give in the order of the ranks.
 *
 * @param onOutput gets all that a rank has printed so far, and can kill all ranks
 */
export async function runRanks(
  size: number,
  file: string,
  words: readonly string[],
  onOutput: (rank: number, output: string, kill: () => void) => void = () => {},
): Promise<RankProcesses> {
  const outputs = Array<string>(size).fill("");
  let errors = "";
  const waiting = new Map<number, Request>();
  const children = Array.from({ length: size }, (_, rank) =>
    fork(sourceRunner, [file, String(rank), String(size), ...words], {
      serialization: "advanced",
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    }),
  );
  const kill = (): void => children.forEach((child) => child.kill("SIGKILL"));
  const codes = await Promise.all(
    children.map((child, rank) => {
      child.stdout?.on("data", (text: Buffer) => {
        outputs[rank] += text.toString();
        onOutput(rank, outputs[rank]!, kill);
      });
      child.stderr?.on("data", (text: Buffer) => (errors += text.toString()));
      child.on("message", (request: Request) => {
        waiting.set(rank, request);
        if (waiting.size === size) answer(children, waiting);
      });
      return ended(child, kill);
    }),
  );
  return { codes, outputs, errors };
}

function answer(children: readonly ChildProcess[], waiting: Map<number, Request>): void {
  const requests = children.map((_, rank) => waiting.get(rank)!);
  waiting.clear();
  const result = reduceValues(
    requests.map(({ values }) => values),
    requests[0]!.operation,
  );
  for (const child of children) if (child.connected) child.send(result);
}

/** A rank that fails ends the others, which would wait for it. */
function ended(child: ChildProcess, kill: () => void): Promise<number | null> {
  return new Promise((resolve) => {
    child.on("close", (code) => {
      if (code !== 0) kill();
      resolve(code);
    });
  });
}

async function meet(operation: Reduction, values: Float64Array): Promise<Float64Array> {
  const answered = new Promise<Float64Array>((resolve) => process.once("message", resolve));
  process.send?.({ operation, values } satisfies Request);
  return answered;
}

/** In a process that `runRanks` started: how it meets the others. `close` lets the process end. */
export function processRank(rank: number, size: number): MeetingRank {
  return {
    rank,
    size,
    allReduce: async (buffer: RankBuffer, operation = "sum") =>
      writeBuffer(buffer, await meet(operation, readBuffer(buffer))),
    broadcast: () => Promise.reject(new Error("not needed here")),
    barrier: async () => void (await meet("sum", new Float64Array())),
    close: () => Promise.resolve(process.disconnect()),
  };
}
