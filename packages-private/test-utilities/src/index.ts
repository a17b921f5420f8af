export { fixturePath, readJsonFixture, temporaryDirectory } from "./fixtures.ts";
export { readSafetensors, type ReferenceTensor } from "./safetensors.ts";
export { expectClose, largestDifference, relativeDifference } from "./closeness.ts";
export { type LargeCheckpoint, type LlamaSizes, writeLargeCheckpoint } from "./large-checkpoint.ts";
export { meetingRanks } from "./meeting-ranks.ts";
export { processRank, runRanks, type RankProcesses } from "./process-ranks.ts";
export type { MeetingRank } from "./rank-buffers.ts";
export { sourceRunner } from "./source-runner.ts";
